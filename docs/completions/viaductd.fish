# fish completion for viaductd(8)

complete -c viaductd -f
complete -c viaductd -s l -l listen -x -d 'Where to listen'
complete -c viaductd -s x -l proxy -x -a 'socks5h:// socks5:// socks4a:// socks4:// http://' -d 'Upstream hop'
complete -c viaductd -s u -l user -x -d 'NAME:PASSWORD of who may use it'
complete -c viaductd -l users -r -F -d 'File of lines NAME:HASH'
complete -c viaductd -s a -l allow -x -d 'What is allowed'
complete -c viaductd -l deny -x -d 'What is not'
complete -c viaductd -s f -l config -r -F -d 'Configuration file'
complete -c viaductd -l check-config -d 'Read the configuration and end'
complete -c viaductd -l print-config -d 'Print the effective configuration'
complete -c viaductd -s w -l workers -x -d 'Worker processes'
complete -c viaductd -s q -l quiet -d 'Only trouble is logged'
complete -c viaductd -s v -l verbose -d 'A line when a tunnel begins, too'
complete -c viaductd -l log-format -x -a 'text json' -d 'How to log'
complete -c viaductd -s V -l version -d 'Print the version'
complete -c viaductd -s h -l help -d 'Print help'
