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
        serve:--config | serve:--config-file | serve:--tls-cert | serve:--ssl-certificate | serve:--tls-key | \
            serve:--ssl-key | serve:--tls-ca | serve:--ssl-ca-file | serve:--db | serve:--log-file | serve:-l | \
            serve:--pid-file | serve:-P) takes=(file) ;;
        serve:--listen | serve:-L | serve:--port | serve:-p | serve:--backlog | serve:-b | serve:--keepalive-idle | \
            serve:--keepalive-interval | serve:--keepalive-count | serve:--sync | serve:--window | serve:--job-retries | \
            serve:-j | serve:--max-interruptions | serve:--worker-wakeup | serve:-w | serve:--job-handle-prefix | \
            serve:--keep-done | serve:--keep-failed | serve:--store-result | serve:--max-packet | serve:--max-output | \
            serve:--max-buffered | serve:--max-line | serve:--packet-timeout | serve:--reader-timeout | \
            serve:--max-connections | serve:--max-per-address | serve:--max-jobs | serve:--max-jobs-bytes | \
            serve:--max-foreground | serve:--max-functions | serve:--file-descriptors | serve:-f | \
            serve:--drain-timeout) takes=(any) ;;
        serve:--priority-scope) takes=(words function global) ;;
        serve:--loop) takes=(words auto uvloop asyncio) ;;
        serve:--log-level | serve:--verbose) takes=(words FATAL ALERT CRITICAL ERROR WARNING NOTICE INFO DEBUG) ;;
        submit:--file | submit:--tls-ca | submit:--tls-cert | submit:--tls-key) takes=(file) ;;
        submit:--unique | submit:-u | submit:--in | submit:--at | submit:--count | submit:-n | submit:--server | \
            submit:-s) takes=(any) ;;
        submit:--priority | submit:-p) takes=(words high normal low) ;;
        status:--function | status:-f) takes=(function) ;;
        status:--warn | status:--crit | status:--max-age | status:--max-failed | status:--max-pause | status:--timeout | \
            status:--server | status:-s) takes=(any) ;;
        status:--db | status:--tls-ca | status:--tls-cert | status:--tls-key) takes=(file) ;;
        workers:--server | workers:-s) takes=(any) ;;
        workers:--tls-ca | workers:--tls-cert | workers:--tls-key) takes=(file) ;;
        limits:--server | limits:-s) takes=(any) ;;
        limits:--tls-ca | limits:--tls-cert | limits:--tls-key) takes=(file) ;;
        top:--interval | top:-i | top:--server | top:-s) takes=(any) ;;
        top:--tls-ca | top:--tls-cert | top:--tls-key) takes=(file) ;;
        tail:--lines | tail:-n | tail:--server | tail:-s) takes=(any) ;;
        tail:--function) takes=(function) ;;
        tail:--state) takes=(words queued delayed running held done failed cancelled) ;;
        tail:--db | tail:--tls-ca | tail:--tls-cert | tail:--tls-key) takes=(file) ;;
        jobs:--function | jobs:-f) takes=(function) ;;
        jobs:--state) takes=(words queued delayed running held done failed cancelled) ;;
        jobs:--since | jobs:--until | jobs:--error | jobs:--unique | jobs:--payload-match | jobs:--cause | jobs:--limit \
            | jobs:--server | jobs:-s) takes=(any) ;;
        jobs:--db | jobs:--tls-ca | jobs:--tls-cert | jobs:--tls-key) takes=(file) ;;
        show:--db | show:--tls-ca | show:--tls-cert | show:--tls-key) takes=(file) ;;
        show:--server | show:-s) takes=(any) ;;
        failures:--function | failures:-f) takes=(function) ;;
        failures:--db | failures:--tls-ca | failures:--tls-cert | failures:--tls-key) takes=(file) ;;
        failures:--server | failures:-s) takes=(any) ;;
        cancel:--function | cancel:-f) takes=(function) ;;
        cancel:--state) takes=(words queued delayed running held done failed cancelled) ;;
        cancel:--since | cancel:--until | cancel:--error | cancel:--unique | cancel:--payload-match | cancel:--cause | \
            cancel:--limit | cancel:--rate | cancel:--server | cancel:-s) takes=(any) ;;
        cancel:--tls-ca | cancel:--tls-cert | cancel:--tls-key) takes=(file) ;;
        retry:--function | retry:-f) takes=(function) ;;
        retry:--state) takes=(words queued delayed running held done failed cancelled) ;;
        retry:--since | retry:--until | retry:--error | retry:--unique | retry:--payload-match | retry:--cause | \
            retry:--limit | retry:--delay | retry:--rate | retry:--server | retry:-s) takes=(any) ;;
        retry:--tls-ca | retry:--tls-cert | retry:--tls-key) takes=(file) ;;
        replay:--function | replay:-f) takes=(function) ;;
        replay:--state) takes=(words queued delayed running held done failed cancelled) ;;
        replay:--since | replay:--until | replay:--error | replay:--unique-is | replay:--payload-match | replay:--cause \
            | replay:--limit | replay:--delay | replay:--as-function | replay:--rate | replay:--server | replay:-s) \
            takes=(any) ;;
        replay:--unique) takes=(words keep drop) ;;
        replay:--tls-ca | replay:--tls-cert | replay:--tls-key) takes=(file) ;;
        hold:--function | hold:-f) takes=(function) ;;
        hold:--state) takes=(words queued delayed running held done failed cancelled) ;;
        hold:--since | hold:--until | hold:--error | hold:--unique | hold:--payload-match | hold:--cause | hold:--limit \
            | hold:--rate | hold:--server | hold:-s) takes=(any) ;;
        hold:--tls-ca | hold:--tls-cert | hold:--tls-key) takes=(file) ;;
        release:--function | release:-f) takes=(function) ;;
        release:--state) takes=(words queued delayed running held done failed cancelled) ;;
        release:--since | release:--until | release:--error | release:--unique | release:--payload-match | \
            release:--cause | release:--limit | release:--delay | release:--rate | release:--server | release:-s) \
            takes=(any) ;;
        release:--tls-ca | release:--tls-cert | release:--tls-key) takes=(file) ;;
        purge:--function | purge:-f) takes=(function) ;;
        purge:--state) takes=(words queued delayed running held done failed cancelled) ;;
        purge:--since | purge:--until | purge:--error | purge:--unique | purge:--payload-match | purge:--cause | \
            purge:--limit | purge:--rate | purge:--server | purge:-s) takes=(any) ;;
        purge:--tls-ca | purge:--tls-cert | purge:--tls-key) takes=(file) ;;
        pause:--for | pause:--server | pause:-s) takes=(any) ;;
        pause:--tls-ca | pause:--tls-cert | pause:--tls-key) takes=(file) ;;
        resume:--server | resume:-s) takes=(any) ;;
        resume:--tls-ca | resume:--tls-cert | resume:--tls-key) takes=(file) ;;
        drain:--timeout | drain:--server | drain:-s) takes=(any) ;;
        drain:--tls-ca | drain:--tls-cert | drain:--tls-key) takes=(file) ;;
        work:--parallel | work:-j | work:--count | work:-c | work:--timeout | work:--server | work:-s) takes=(any) ;;
        work:--tls-ca | work:--tls-cert | work:--tls-key) takes=(file) ;;
        backup:--db | backup:--tls-ca | backup:--tls-cert | backup:--tls-key) takes=(file) ;;
        backup:--server | backup:-s) takes=(any) ;;
        check:--db | check:--tls-ca | check:--tls-cert | check:--tls-key) takes=(file) ;;
        check:--server | check:-s) takes=(any) ;;
        doctor:--config | doctor:--config-file | doctor:--db | doctor:--tls-ca | doctor:--tls-cert | doctor:--tls-key) \
            takes=(file) ;;
        doctor:--server | doctor:-s) takes=(any) ;;
        selftest:--dir | selftest:--tls-ca | selftest:--tls-cert | selftest:--tls-key) takes=(file) ;;
        selftest:--rounds | selftest:-n | selftest:--clients | selftest:--jobs | selftest:--server | selftest:-s) \
            takes=(any) ;;
        bench:--dir | bench:--seconds | bench:--size) takes=(any) ;;
        export:--function | export:-f) takes=(function) ;;
        export:--state) takes=(words queued delayed running held done failed cancelled) ;;
        export:--since | export:--until | export:--error | export:--unique | export:--payload-match | export:--cause | \
            export:--limit | export:--server | export:-s) takes=(any) ;;
        export:--db | export:--tls-ca | export:--tls-cert | export:--tls-key) takes=(file) ;;
        import:--table | import:--server | import:-s) takes=(any) ;;
        import:--rejects | import:--tls-ca | import:--tls-cert | import:--tls-key) takes=(file) ;;
        'config show:--function' | 'config show:-f') takes=(function) ;;
        'config show:--certificate' | 'config show:--server' | 'config show:-s') takes=(any) ;;
        'config show:--config' | 'config show:--config-file' | 'config show:--tls-ca' | 'config show:--tls-cert' | \
            'config show:--tls-key') takes=(file) ;;
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
        _gearstore_offer serve submit status workers limits top tail jobs show failures cancel retry replay hold release purge pause \
            resume drain work backup check doctor selftest bench export import config --help --version
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
                --keepalive-idle --keepalive-interval --keepalive-count --tls --no-tls --tls-cert --tls-key --tls-ca \
                --db --memory --no-memory --sync --window --job-retries --max-interruptions --round-robin \
                --no-round-robin --worker-wakeup --priority-scope --exceptions --no-exceptions --job-handle-prefix \
                --keep-done --keep-failed --store-result --max-packet --max-output --max-buffered --max-line \
                --packet-timeout --reader-timeout --max-connections --max-per-address --max-jobs --max-jobs-bytes \
                --max-foreground --max-functions --file-descriptors --drain-timeout --loop --log-level --log-file \
                --pid-file --help ;;
            submit) _gearstore_offer --file --unique --priority --in --at --wait --count --server --tls-ca --tls-cert \
                --tls-key --help ;;
            status) _gearstore_offer --function --watch --check --warn --crit --max-age --max-failed --max-pause --total \
                --timeout --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            workers) _gearstore_offer --json --server --tls-ca --tls-cert --tls-key --help ;;
            limits) _gearstore_offer --json --server --tls-ca --tls-cert --tls-key --help ;;
            top) _gearstore_offer --interval --server --tls-ca --tls-cert --tls-key --help ;;
            tail) _gearstore_offer --follow --lines --function --state --json --db --server --tls-ca --tls-cert \
                --tls-key --help ;;
            jobs) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --oldest --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            show) _gearstore_offer --payload --result --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            failures) _gearstore_offer --function --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            cancel) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --rate --dry-run --yes --json --server --tls-ca --tls-cert --tls-key --help ;;
            retry) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --delay --rate --dry-run --yes --json --server --tls-ca --tls-cert --tls-key --help ;;
            replay) _gearstore_offer --function --state --since --until --error --unique-is --payload-match --cause \
                --limit --delay --as-function --unique --again --rate --dry-run --yes --json --server --tls-ca \
                --tls-cert --tls-key --help ;;
            hold) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --rate --dry-run --yes --json --server --tls-ca --tls-cert --tls-key --help ;;
            release) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause \
                --limit --delay --rate --dry-run --yes --json --server --tls-ca --tls-cert --tls-key --help ;;
            purge) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --rate --dry-run --yes --json --server --tls-ca --tls-cert --tls-key --help ;;
            pause) _gearstore_offer --for --hold --json --server --tls-ca --tls-cert --tls-key --help ;;
            resume) _gearstore_offer --json --server --tls-ca --tls-cert --tls-key --help ;;
            drain) _gearstore_offer --timeout --server --tls-ca --tls-cert --tls-key --help ;;
            work) _gearstore_offer --parallel --count --timeout --server --tls-ca --tls-cert --tls-key --help ;;
            backup) _gearstore_offer --force --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            check) _gearstore_offer --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            doctor) _gearstore_offer --config --json --db --server --tls-ca --tls-cert --tls-key --help ;;
            selftest) _gearstore_offer --dir --rounds --clients --jobs --json --server --tls-ca --tls-cert --tls-key \
                --help ;;
            bench) _gearstore_offer --dir --seconds --size --json --help ;;
            export) _gearstore_offer --function --state --since --until --error --unique --payload-match --cause --limit \
                --db --server --tls-ca --tls-cert --tls-key --help ;;
            import) _gearstore_offer --table --dry-run --rejects --force --json --server --tls-ca --tls-cert --tls-key \
                --help ;;
            'config show') _gearstore_offer --function --certificate --config --json --server --tls-ca --tls-cert \
                --tls-key --help ;;
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
