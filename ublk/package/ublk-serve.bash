# Completion of ublk-serve for bash. Commands and options come from the program's own help.
_ublk_serve() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="--help $(ublk-serve --help 2>/dev/null | sed -n '/^Subcommands:/,$s/^  \([a-z]*\) .*/\1/p')"
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        return
    fi
    case $previous in
    --type) words="null memory file zoned" ;;
    --data-path) words="copy get-data user-copy zero-copy auto-buf shmem auto" ;;
    --integrity) words="t10-type1 t10-type3" ;;
    --recovery) words="none wait reissue fail-io" ;;
    --block-size) words="512 1024 2048 4096" ;;
    --log-level) words="error warning info debug" ;;
    --file | --json | --shmem)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return ;;
    *)
        words=$(ublk-serve "$command" --help 2>/dev/null | sed -n 's/^  \(-h,\)\{0,1\}\(--[a-z-]*\).*/\2/p')
        case $command in
        recover | info | stop | quiesce | resize | delete | owner)
            words="$words $(cd /sys/class/ublk-char 2>/dev/null && for device in ublkc*; do echo "${device#ublkc}"; done)" ;;
        esac ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _ublk_serve ublk-serve
