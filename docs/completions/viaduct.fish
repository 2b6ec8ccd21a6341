# fish completion for viaduct(1)

# The command line behind viaduct's own options, or nothing while these are still being typed.
function __viaduct_command
    set -l words (commandline -opc)
    set -l skip 0
    for i in (seq 2 (count $words))
        if test $skip = 1
            set skip 0
            continue
        end
        switch $words[$i]
            case --
                echo $words[(math $i + 1)..]
                return 0
            case '--*=*' -q --quiet -v -vv --verbose --check --json --trace --trace-data --trace-secrets --audit --strict --isolate --print-config --keep-proxy-env
            case '-*'
                set skip 1
            case '*'
                echo $words[$i..]
                return 0
        end
    end
    return 1
end

function __viaduct_options
    not __viaduct_command >/dev/null
end

set -l urls socks5h:// socks5:// socks4a:// socks4:// http:// https://

complete -c viaduct -f
complete -c viaduct -n 'not __viaduct_options' -a '(__fish_complete_subcommand --fcs-skip=1)'
complete -c viaduct -n __viaduct_options -a '(__fish_complete_command)'
complete -c viaduct -n __viaduct_options -s x -l proxy -x -a "$urls" -d 'One hop; repeat for a chain'
complete -c viaduct -n __viaduct_options -s f -l config -r -F -d 'Configuration file'
complete -c viaduct -n __viaduct_options -s c -l chain -x -d 'A chain of the configuration'
complete -c viaduct -n __viaduct_options -s m -l mode -x -a 'strict dynamic random round_robin failover' -d 'How the hops are used'
complete -c viaduct -n __viaduct_options -s n -l pick -x -d 'How many hops'
complete -c viaduct -n __viaduct_options -s d -l dns -x -a 'remote local chain' -d 'Who resolves names'
complete -c viaduct -n __viaduct_options -s b -l bypass -x -a none -d 'Direct for an address, network or name'
complete -c viaduct -n __viaduct_options -l udp -x -a 'auto proxy deny direct' -d 'What becomes of datagrams'
complete -c viaduct -n __viaduct_options -l engine -x -a 'auto preload supervise' -d 'How calls are intercepted'
complete -c viaduct -n __viaduct_options -s t -l timeout -x -d 'Seconds for the whole handshake'
complete -c viaduct -n __viaduct_options -l isolate -d 'A random login for this run'
complete -c viaduct -n __viaduct_options -s q -l quiet -d 'Say nothing'
complete -c viaduct -n __viaduct_options -s v -l verbose -d 'One line per connection'
complete -c viaduct -n __viaduct_options -l log -r -F -d 'Where to say it'
complete -c viaduct -n __viaduct_options -l log-format -x -a 'text json' -d 'How to say it'
complete -c viaduct -n __viaduct_options -l check -d 'Try the chain hop by hop'
complete -c viaduct -n __viaduct_options -l json -d 'Tell that as JSON'
complete -c viaduct -n __viaduct_options -l trace -r -d 'Every byte of the handshakes, explained'
complete -c viaduct -n __viaduct_options -l trace-format -x -a 'text pcapng pcap' -d 'How to write them down'
complete -c viaduct -n __viaduct_options -l trace-data -d 'With what connections carry'
complete -c viaduct -n __viaduct_options -l trace-secrets -d 'With passwords'
complete -c viaduct -n __viaduct_options -l audit -d 'Tell afterwards what went where'
complete -c viaduct -n __viaduct_options -l strict -d 'Refuse what is done past the library'
complete -c viaduct -n __viaduct_options -l print-config -d 'Print the effective configuration'
complete -c viaduct -n __viaduct_options -l import -r -F -d 'Print a foreign configuration as viaduct.conf'
complete -c viaduct -n __viaduct_options -l keep-proxy-env -d 'Leave http_proxy and the like alone'
complete -c viaduct -n __viaduct_options -s V -l version -d 'Print the version'
complete -c viaduct -n __viaduct_options -s h -l help -d 'Print help'
