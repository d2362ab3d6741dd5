# Bash completion for crstore. The program itself says what fits: verbs, options, CRIDs and series of the store.
_crstore() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} line
    COMPREPLY=()
    case $previous in
        --store | --to | --pidfile)
            # Left to bash's own file names (complete -o default).
            return ;;
    esac
    # '=' and '@' may split words; the suggestions are for the whole line up to the cursor.
    while IFS= read -r line; do
        [[ $line == "$word"* ]] && COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]}" "[suggest:$COMP_POINT]" "$COMP_LINE" 2>/dev/null)
}
complete -o default -F _crstore crstore
