// Nio ADDRESS PORT COUNT before|after: so many channels of one selector, registered before connect()
// or after it; prints how many came up and were answered, and the seconds that took.

import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

public class Nio {
    private static int good, open;

    public static void main(String[] words) throws Exception {
        InetSocketAddress target = new InetSocketAddress(words[0], Integer.parseInt(words[1]));
        int count = Integer.parseInt(words[2]);
        Selector selector = Selector.open();
        long began = System.nanoTime();

        for (int i = 0; i < count; i++) {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            if (words[3].equals("before")) {
                channel.register(selector, SelectionKey.OP_CONNECT);
                selector.selectNow();
                channel.connect(target);
            } else {
                channel.connect(target);
                channel.register(selector, SelectionKey.OP_CONNECT);
            }
            open++;
        }
        while (open > 0 && System.nanoTime() - began < 20_000_000_000L) {
            selector.select(1000);
            for (SelectionKey key : selector.selectedKeys()) {
                serve(key);
            }
            selector.selectedKeys().clear();
        }
        System.out.println(good + " " + (System.nanoTime() - began) / 1e9);
    }

    private static void serve(SelectionKey key) throws Exception {
        SocketChannel channel = (SocketChannel) key.channel();
        try {
            if (key.isConnectable() && channel.finishConnect()) {
                byte[] request = "GET / HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.US_ASCII);
                channel.write(ByteBuffer.wrap(request));
                key.interestOps(SelectionKey.OP_READ);
            } else if (key.isReadable()) {
                ByteBuffer answer = ByteBuffer.allocate(4096);
                channel.read(answer);
                String head = new String(answer.array(), 0, answer.position(), StandardCharsets.US_ASCII);
                good += head.contains(" 200 OK\r\n") ? 1 : 0;
                close(key);
            }
        } catch (java.io.IOException error) {
            System.err.println(error);
            close(key);
        }
    }

    private static void close(SelectionKey key) throws Exception {
        key.cancel();
        key.channel().close();
        open--;
    }
}
