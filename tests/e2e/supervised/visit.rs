// visit HOST PORT: connects by name, from a thread; prints what comes as an answer to GET /whoami.
use std::io::{Read, Write};
use std::net::TcpStream;

fn visit(target: (String, u16)) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((target.0.as_str(), target.1))?;
    let mut answer = String::new();
    stream.write_all(b"GET /whoami HTTP/1.0\r\n\r\n")?;
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let target = (words[1].clone(), words[2].parse().unwrap());
    match std::thread::spawn(move || visit(target)).join().unwrap() {
        Ok(answer) => print!("{}", answer.split("\r\n\r\n").nth(1).unwrap_or("nothing\n")),
        Err(error) => println!("{}", error),
    }
}
