# bash completion for gearstore; made by `make docs`

# Ask the server for the first column of a list; silent, and not for long, if there is none.
_gearstore_ask() {
    local server=() i
    for ((i = 2; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
            -s | --server) server=(--server "${words[i + 1]}") ;;
            --server=*) server=("${words[i]}") ;;
        esac
    done
    timeout 5 "$program" "$@" "${server[@]}" 2>/dev/null </dev/null | cut -f 1 | grep -vx '\.'
}

# Offer those of the words that begin like the current one. No compgen -W: it would expand what a server says.
_gearstore_offer() {
    local word behind= quote=
    [[ $current == [\'\"]* ]] && quote=${current:0:1} && current=${current:1}
    # Readline completes what stands behind the last colon.
    [[ $COMP_WORDBREAKS == *:* && ! $quote ]] && behind=${current%"${current##*:}"}
    for word; do
        [[ $word == "$current"* ]] || continue
        case $quote in
            \') [[ $word == *\'* ]] && continue ;;
            \") [[ $word == *[\"\$\`\\!]* ]] && continue ;;
            *) printf -v word %q "${word#"$behind"}" ;;
        esac
        COMPREPLY+=("$word")
    done
}

# Offer files, or what else bash finds by itself.
_gearstore_generate() {
    [[ $1 == -f ]] && compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

# Offer values of a kind.
_gearstore_values() {
    local found=() kind=$1
    shift
    case $kind in
        words) found=("$@") ;;
        file) _gearstore_generate -f ;;
        function) mapfile -t found < <(_gearstore_ask status) ;;
        handle) mapfile -t found < <(_gearstore_ask jobs --limit 100 "${@/#/--state=}") ;;
    esac
    _gearstore_offer "${found[@]}"
}

# Set `takes` to what a flag of a command wants to be followed by; fail if that is nothing.
_gearstore_takes() {
    case $1:$2 in
        serve:--config | serve:--config-file | serve:--db | serve:--log-file | serve:-l | serve:--pid-file | serve:-P) \
            takes=(file) ;;
        serve:--listen | serve:-L | serve:--port | serve:-p | serve:--backlog | serve:-b | serve:--keepalive-idle | \
            serve:--keepalive-interval | serve:--keepalive-count | serve:--sync | serve:--window | serve:--job-retries | \
            serve:-j | serve:--max-interruptions | serve:--worker-wakeup | serve:-w | serve:--job-handle-prefix | \
            serve:--keep-done | serve:--keep-failed | serve:--store-result | serve:--max-packet | serve:--max-output | \
            serve:--file-descriptors | serve:-f | serve:--drain-timeout) takes=(any) ;;
        serve:--manage-from) takes=(words loopback any) ;;
        serve:--priority-scope) takes=(words function global) ;;
        serve:--loop) takes=(words auto uvloop asyncio) ;;
        serve:--log-level | serve:--verbose) takes=(words FATAL ALERT CRITICAL ERROR WARNING NOTICE INFO DEBUG) ;;
        submit:--file) takes=(file) ;;
        submit:--unique | submit:-u | submit:--in | submit:--at | submit:--count | submit:-n | submit:--server | \
            submit:-s) takes=(any) ;;
        submit:--priority | submit:-p) takes=(words high normal low) ;;
        status:--function | status:-f) takes=(function) ;;
        status:--warn | status:--crit | status:--max-age | status:--max-failed | status:--max-pause | status:--timeout | \
            status:--server | status:-s) takes=(any) ;;
        status:--db) takes=(file) ;;
        workers:--server | workers:-s) takes=(any) ;;
        top:--interval | top:-i | top:--server | top:-s) takes=(any) ;;
        tail:--lines | tail:-n | tail:--server | tail:-s) takes=(any) ;;
        tail:--function) takes=(function) ;;
        tail:--state) takes=(words queued delayed running held done failed cancelled) ;;
        tail:--db) takes=(file) ;;
        jobs:--function | jobs:-f) takes=(function) ;;
        jobs:--state) takes=(words queued delayed running held done failed cancelled) ;;
        jobs:--since | jobs:--until | jobs:--error | jobs:--unique | jobs:--payload-match | jobs:--cause | jobs:--limit \
            | jobs:--server | jobs:-s) takes=(any) ;;
        jobs:--db) takes=(file) ;;
        show:--db) takes=(file) ;;
        show:--server | show:-s) takes=(any) ;;
        failures:--function | failures:-f) takes=(function) ;;
        failures:--db) takes=(file) ;;
        failures:--server | failures:-s) takes=(any) ;;
        cancel:--function | cancel:-f) takes=(function) ;;
        cancel:--state) takes=(words queued delayed running held done failed cancelled) ;;
        cancel:--since | cancel:--until | cancel:--error | cancel:--unique | cancel:--payload-match | cancel:--cause | \
            cancel:--limit | cancel:--rate | cancel:--server | cancel:-s) takes=(any) ;;
        retry:--function | retry:-f) takes=(function) ;;
        retry:--state) takes=(words queued delayed running held done failed cancelled) ;;
        retry:--since | retry:--until | retry:--error | retry:--unique | retry:--payload-match | retry:--cause | \
            retry:--limit | retry:--delay | retry:--rate | retry:--server | retry:-s) takes=(any) ;;
        replay:--function | replay:-f) takes=(function) ;;
        replay:--state) takes=(words queued delayed running held done failed cancelled) ;;
        replay:--since | replay:--until | replay:--error | replay:--unique-is | replay:--payload-match | replay:--cause \
            | replay:--limit | replay:--delay | replay:--as-function | replay:--rate | replay:--server | replay:-s) \
            takes=(any) ;;
        replay:--unique) takes=(words keep drop) ;;
        hold:--function | hold:-f) takes=(function) ;;
        hold:--state) takes=(words queued delayed running held done failed cancelled) ;;
        hold:--since | hold:--until | hold:--error | hold:--unique | hold:--payload-match | hold:--cause | hold:--limit \
            | hold:--rate | hold:--server | hold:-s) takes=(any) ;;
        release:--function | release:-f) takes=(function) ;;
        release:--state) takes=(words queued delayed running held done failed cancelled) ;;
        release:--since | release:--until | release:--error | release:--unique | release:--payload-match | \
            release:--cause | release:--limit | release:--delay | release:--rate | release:--server | release:-s) \
            takes=(any) ;;
        purge:--function | purge:-f) takes=(function) ;;
        purge:--state) takes=(words queued delayed running held done failed cancelled) ;;
        purge:--since | purge:--until | purge:--error | purge:--unique | purge:--payload-match | purge:--cause | \
            purge:--limit | purge:--rate | purge:--server | purge:-s) takes=(any) ;;
        pause:--for | pause:--server | pause:-s) takes=(any) ;;
        resume:--server | resume:-s) takes=(any) ;;
        drain:--timeout | drain:--server | drain:-s) takes=(any) ;;
        work:--parallel | work:-j | work:--count | work:-c | work:--timeout | work:--server | work:-s) takes=(any) ;;
        backup:--db) takes=(file) ;;
        backup:--server | backup:-s) takes=(any) ;;
        check:--db) takes=(file) ;;
        check:--server | check:-s) takes=(any) ;;
        doctor:--config | doctor:--config-file | doctor:--db) takes=(file) ;;
        doctor:--server | doctor:-s) takes=(any) ;;
        bench:--dir | bench:--seconds | bench:--size) takes=(any) ;;
        export:--function | export:-f) takes=(function) ;;
        export:--state) takes=(words queued delayed running held done failed cancelled) ;;
        export:--since | export:--until | export:--error | export:--unique | export:--payload-match | export:--cause | \
            export:--limit | export:--server | export:-s) takes=(any) ;;
        export:--db) takes=(file) ;;
        import:--table | import:--server | import:-s) takes=(any) ;;
        import:--rejects) takes=(file) ;;
        'config show:--function' | 'config show:-f') takes=(function) ;;
        'config show:--config' | 'config show:--config-file') takes=(file) ;;
        'config show:--server' | 'config show:-s') takes=(any) ;;
        'config check:--config' | 'config check:--config-file') takes=(file) ;;
        *) return 1 ;;
    esac
}

_gearstore() {
    local program=$1 words=() members=() word current command takes want=() place=0 border=0 first=2 i
    COMPREPLY=()
    # Bash takes : and = for ends of words; handles, addresses and --option=value hold them.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 1)) && [[ $word == [:=]* || ${COMP_WORDS[i - 1]} == *[:=] && $COMP_WORDBREAKS == *:* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    local last=$((${#words[@]} - 1))
    current=${words[last]}
    command=${words[1]}
    if ((last == 1)); then
        _gearstore_offer serve submit status workers top tail jobs show failures cancel retry replay hold release purge pause resume \
            drain work backup check doctor bench export import config --help --version
        return
    fi
    case $command in
        config) members=(show check sample) ;;
    esac
    if ((${#members[@]})); then
        if ((last == 2)); then
            _gearstore_offer "${members[@]}" --help
            return
        fi
        command+=" ${words[2]}"
        first=3
    fi
    for ((i = first; i < last && !border; i++)); do
        case ${words[i]} in
            --) border=$i ;;
            --*=*) ;;
            -*) _gearstore_takes "$command" "${words[i]}" && ((++i == last)) && want=("${takes[@]}") ;;
            *) ((++place)) ;;
        esac
    done
    if ((${#want[@]} == 0 && !border)) && [[ $current == --*=* ]]; then
        _gearstore_takes "$command" "${current%%=*}" || return
        want=("${takes[@]}")
        current=${current#*=}
    fi
    if ((${#want[@]})); then
        _gearstore_values "${want[@]}"
    elif [[ $current == -* ]] && ((!border)); then
        case $command in
            serve) _gearstore_offer --config --check-config --listen --port --backlog --keepalive --no-keepalive \
                --keepalive-idle --keepalive-interval --keepalive-count --manage-from --db --memory --no-memory --sync \
                --window --job-retries --max-interruptions --round-robin --no-round-robin --worker-wakeup \
                --priority-scope --exceptions --no-exceptions --job-handle-prefix --keep-done --keep-failed \
                --store-result --max-packet --max-output --file-descriptors --drain-timeout --loop --log-level \
                --log-file --pid-file --help ;;
            submit) _gearstore_offer --file --unique --priority --in --at --wait --count --server --help ;;
            status) _gearstore_offer --function --watch --check --warn --crit --max-age --max-failed --max-pause --total \
                --timeout --json --db --server --help ;;
            workers) _gearstore_offer --json --server --help ;;
            top) _gearstore_offer --interval --server --help ;;
            tail) _gearstore_offer --follow --lines --function --state --json --db --server --help ;;
            jobs) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --oldest --json --db --server --help ;;
            show) _gearstore_offer --payload --result --json --db --server --help ;;
            failures) _gearstore_offer --function --json --db --server --help ;;
            cancel) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --rate --dry-run --yes --json --server --help ;;
            retry) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --delay --rate --dry-run --yes --json --server --help ;;
            replay) _gearstore_offer --function --state --since --until --error --unique-is --payload-match --cause \
                --limit --delay --as-function --unique --again --rate --dry-run --yes --json --server --help ;;
            hold) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --rate --dry-run --yes --json --server --help ;;
            release) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause \
                --limit --delay --rate --dry-run --yes --json --server --help ;;
            purge) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --rate --dry-run --yes --json --server --help ;;
            pause) _gearstore_offer --for --hold --json --server --help ;;
            resume) _gearstore_offer --json --server --help ;;
            drain) _gearstore_offer --timeout --server --help ;;
            work) _gearstore_offer --parallel --count --timeout --server --help ;;
            backup) _gearstore_offer --force --json --db --server --help ;;
            check) _gearstore_offer --json --db --server --help ;;
            doctor) _gearstore_offer --config --json --db --server --help ;;
            bench) _gearstore_offer --dir --seconds --size --json --help ;;
            export) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --db --server --help ;;
            import) _gearstore_offer --table --dry-run --rejects --force --json --server --help ;;
            'config show') _gearstore_offer --function --config --json --server --help ;;
            'config check') _gearstore_offer --config --help ;;
            'config sample') _gearstore_offer --help ;;
        esac
    else
        case $command in
            submit) ((place == 0)) && _gearstore_values function ;;
            jobs) _gearstore_values handle ;;
            show) _gearstore_values handle ;;
            cancel) _gearstore_values handle queued delayed held running ;;
            retry) _gearstore_values handle failed held ;;
            replay) _gearstore_values handle done failed ;;
            hold) _gearstore_values handle queued delayed ;;
            release) _gearstore_values handle held ;;
            purge) _gearstore_values handle done failed cancelled ;;
            pause) ((place == 0)) && _gearstore_values function ;;
            resume) ((place == 0)) && _gearstore_values function ;;
            drain) ((place == 0)) && _gearstore_values function ;;
            work)
                if ((!border)); then
                    _gearstore_values function
                elif ((last == border + 1)); then
                    _gearstore_generate -c
                else
                    _gearstore_generate -f
                fi
                ;;
            backup) ((place == 0)) && _gearstore_values file ;;
            export) _gearstore_values handle ;;
            import) ((place == 0)) && _gearstore_values file ;;
        esac
    fi
}

complete -F _gearstore gearstore
