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
            serve:--max-packet | serve:--max-output | serve:--file-descriptors | serve:-f | serve:--drain-timeout) \
            takes=(any) ;;
        serve:--manage-from) takes=(words loopback any) ;;
        serve:--priority-scope) takes=(words function global) ;;
        serve:--loop) takes=(words auto uvloop asyncio) ;;
        serve:--log-level | serve:--verbose) takes=(words FATAL ALERT CRITICAL ERROR WARNING NOTICE INFO DEBUG) ;;
        submit:--file) takes=(file) ;;
        submit:--unique | submit:-u | submit:--in | submit:--at | submit:--count | submit:-n | submit:--server | \
            submit:-s) takes=(any) ;;
        submit:--priority | submit:-p) takes=(words high normal low) ;;
        status:--server | status:-s) takes=(any) ;;
        workers:--server | workers:-s) takes=(any) ;;
        jobs:--function | jobs:-f) takes=(function) ;;
        jobs:--state) takes=(words queued delayed running held done failed cancelled) ;;
        jobs:--since | jobs:--until | jobs:--error | jobs:--unique | jobs:--payload-match | jobs:--limit | jobs:--server \
            | jobs:-s) takes=(any) ;;
        show:--server | show:-s) takes=(any) ;;
        cancel:--function | cancel:-f) takes=(function) ;;
        cancel:--state) takes=(words queued delayed running held done failed cancelled) ;;
        cancel:--since | cancel:--until | cancel:--error | cancel:--unique | cancel:--payload-match | cancel:--limit | \
            cancel:--server | cancel:-s) takes=(any) ;;
        retry:--function | retry:-f) takes=(function) ;;
        retry:--state) takes=(words queued delayed running held done failed cancelled) ;;
        retry:--since | retry:--until | retry:--error | retry:--unique | retry:--payload-match | retry:--limit | \
            retry:--server | retry:-s) takes=(any) ;;
        replay:--function | replay:-f) takes=(function) ;;
        replay:--state) takes=(words queued delayed running held done failed cancelled) ;;
        replay:--since | replay:--until | replay:--error | replay:--unique | replay:--payload-match | replay:--limit | \
            replay:--server | replay:-s) takes=(any) ;;
        work:--parallel | work:-j | work:--count | work:-c | work:--timeout | work:--server | work:-s) takes=(any) ;;
        *) return 1 ;;
    esac
}

_gearstore() {
    local program=$1 words=() word current command takes want=() place=0 border=0 i
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
        _gearstore_offer serve submit status workers jobs show cancel retry replay work --help --version
        return
    fi
    for ((i = 2; i < last && !border; i++)); do
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
                --priority-scope --exceptions --no-exceptions --job-handle-prefix --max-packet --max-output \
                --file-descriptors --drain-timeout --loop --log-level --log-file --pid-file --help ;;
            submit) _gearstore_offer --file --unique --priority --in --at --wait --count --server --help ;;
            status) _gearstore_offer --watch --json --server --help ;;
            workers) _gearstore_offer --json --server --help ;;
            jobs) _gearstore_offer --function --state --since --until --error --unique --payload-match --limit --oldest \
                --json --server --help ;;
            show) _gearstore_offer --payload --result --json --server --help ;;
            cancel) _gearstore_offer --function --state --since --until --error --unique --payload-match --limit \
                --dry-run --yes --json --server --help ;;
            retry) _gearstore_offer --function --state --since --until --error --unique --payload-match --limit \
                --dry-run --yes --json --server --help ;;
            replay) _gearstore_offer --function --state --since --until --error --unique --payload-match --limit \
                --dry-run --yes --json --server --help ;;
            work) _gearstore_offer --parallel --count --timeout --server --help ;;
        esac
    else
        case $command in
            submit) ((place == 0)) && _gearstore_values function ;;
            jobs) _gearstore_values handle ;;
            show) _gearstore_values handle ;;
            cancel) _gearstore_values handle queued delayed held running ;;
            retry) _gearstore_values handle failed held ;;
            replay) _gearstore_values handle done failed ;;
            work)
                if ((!border)); then
                    _gearstore_values function
                elif ((last == border + 1)); then
                    _gearstore_generate -c
                else
                    _gearstore_generate -f
                fi
                ;;
        esac
    fi
}

complete -F _gearstore gearstore
