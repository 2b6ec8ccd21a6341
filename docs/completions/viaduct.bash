# bash completion for viaduct(1) and viaductd(8)

# Whether the word before takes a value, and which.
_viaduct_value()
{
    case $1 in
        -m | --mode) COMPREPLY=($(compgen -W 'strict dynamic random round_robin failover' -- "$2")) ;;
        -d | --dns) COMPREPLY=($(compgen -W 'remote local chain' -- "$2")) ;;
        --engine) COMPREPLY=($(compgen -W 'auto preload supervise' -- "$2")) ;;
        --udp) COMPREPLY=($(compgen -W 'auto proxy deny direct' -- "$2")) ;;
        --family) COMPREPLY=($(compgen -W 'prefer_ipv6 prefer_ipv4 ipv6 ipv4' -- "$2")) ;;
        --log-format) COMPREPLY=($(compgen -W 'text json' -- "$2")) ;;
        --check) COMPREPLY=() ;;
        --trace-format) COMPREPLY=($(compgen -W 'text pcapng pcap' -- "$2")) ;;
        -x | --proxy)
            COMPREPLY=($(compgen -W 'socks5h:// socks5:// socks4a:// socks4:// http:// https://' -- "$2"))
            compopt -o nospace 2>/dev/null
            ;;
        -f | --config | --log | --import | --users) COMPREPLY=($(compgen -f -- "$2")) ;;
        -[cnbtluaw] | --workers | --chain | --pick | --bypass | --timeout | --listen | --user | --allow | --deny | --limit | --source | --admin) COMPREPLY=() ;;
        *) return 1 ;;
    esac
}

# Where the command begins: behind the options and their values.
_viaduct_command_at()
{
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --) echo $((i + 1)) && return ;;
            --*=*) ;;
            -q | --quiet | -v | -vv | --verbose | --check | --json | --trace | --trace-data | --trace-secrets | --audit | --strict | --isolate | --print-config | --keep-proxy-env) ;;
            -*) ((i++)) ;;
            *) echo "$i" && return ;;
        esac
    done
}

_viaduct()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} at
    at=$(_viaduct_command_at)
    COMPREPLY=()
    if [[ -n $at ]]; then
        if declare -F _command_offset >/dev/null; then
            _command_offset "$at"
        elif ((at == COMP_CWORD)); then
            COMPREPLY=($(compgen -c -- "$word"))
        else
            COMPREPLY=($(compgen -f -- "$word"))
        fi
        return
    fi
    _viaduct_value "$before" "$word" && return
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W '-x --proxy -f --config -c --chain -m --mode -n --pick -d --dns
            -b --bypass --udp --engine -t --timeout -q --quiet -v --verbose --log --log-format --check --json --trace --trace-format --trace-data
            --trace-secrets --audit --strict --isolate
            --print-config --import --keep-proxy-env -V --version -h --help --' -- "$word"))
    else
        COMPREPLY=($(compgen -c -- "$word"))
    fi
}

_viaductd()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    _viaduct_value "$before" "$word" && return
    COMPREPLY=($(compgen -W '-l --listen -x --proxy -m --mode -n --pick -u --user --users -a --allow --deny --limit --source --family -f --config
        --check-config --print-config --admin -w --workers -q --quiet -v --verbose --trace --trace-format --trace-data --trace-secrets --trace-hops --log-format
        --tls-cert --tls-key -V --version -h --help' -- "$word"))
}

complete -F _viaduct viaduct
complete -F _viaductd viaductd
