# fish completion for gearstore; made by `make docs`

# Whether the command line is about this command.
function __gearstore_is
    set -l words (commandline -opc)
    set -l last (math 1 + (count $argv))
    test "$words[2..$last]" = "$argv"
end

# Whether these words were the last ones before the current.
function __gearstore_after
    set -l words (commandline -opc)
    test "$words[2..-1]" = "$argv"
end

# Ask the server for the first column of a list; silent, and not for long, if there is none.
function __gearstore_ask
    set -l words (commandline -opc)
    set -l server
    for i in (seq 2 (count $words))
        switch $words[$i]
            case -s --server
                set server --server $words[(math $i + 1)]
            case '--server=*'
                set server $words[$i]
        end
    end
    timeout 5 $words[1] $argv $server 2>/dev/null </dev/null | string replace -r '\t.*' '' | string match -v .
end

# Functions up to the --, then a command as if it stood alone.
function __gearstore_work
    set -l words (commandline -opc)
    if set -l border (contains -i -- -- $words)
        complete -C (string join ' ' -- (string escape -- $words[(math $border + 1)..-1]) (commandline -ct))
    else
        __gearstore_ask status
    end
end

complete -c gearstore -f
complete -c gearstore -n __gearstore_after -l version -s V -d 'Print the version'
complete -c gearstore -l help -s h -d 'Show the help'
complete -c gearstore -n '__gearstore_after' -a serve -d 'Run the job server in the foreground, until SIGTERM or Ctrl-C'
complete -c gearstore -n '__gearstore_after' -a submit -d 'Submit a background job and print its handle, which means that the job is on disk'
complete -c gearstore -n '__gearstore_after' -a status -d 'Show how many jobs each function has, how many workers, since when the oldest job waits, and what ends a minute'
complete -c gearstore -n '__gearstore_after' -a workers -d 'Show the connected workers, their functions, what they are doing and since when'
complete -c gearstore -n '__gearstore_after' -a top -d 'Watch functions, jobs and single jobs on a full screen, and retry, cancel or pause from there'
complete -c gearstore -n '__gearstore_after' -a tail -d 'Show the jobs that ended last and, with -f, everything that happens to jobs from now on'
complete -c gearstore -n '__gearstore_after' -a jobs -d 'List jobs, the newest 50 unless told otherwise'
complete -c gearstore -n '__gearstore_after' -a show -d 'Show all that is known of jobs, and what happened to them'
complete -c gearstore -n '__gearstore_after' -a failures -d 'Show why jobs failed: alike errors, but for numbers and ids, are one cause'
complete -c gearstore -n '__gearstore_after' -a cancel -d 'Cancel jobs that are queued, delayed, held or running'
complete -c gearstore -n '__gearstore_after' -a retry -d 'Put failed or held jobs back into their queue, with the same handle'
complete -c gearstore -n '__gearstore_after' -a replay -d 'Submit copies of jobs that are done or failed, in their old order; each copy has a handle of its own'
complete -c gearstore -n '__gearstore_after' -a hold -d 'Keep jobs that wait from workers, until they are released or cancelled'
complete -c gearstore -n '__gearstore_after' -a release -d 'Put held jobs back into their queue'
complete -c gearstore -n '__gearstore_after' -a purge -d 'Forget ended jobs for good'
complete -c gearstore -n '__gearstore_after' -a pause -d 'Assign no more jobs of a function; what runs is not disturbed, what comes is stored and waits'
complete -c gearstore -n '__gearstore_after' -a resume -d 'End a pause: that of a function, or without one the pause of everything'
complete -c gearstore -n '__gearstore_after' -a drain -d 'Pause, and wait until none of the jobs runs any more'
complete -c gearstore -n '__gearstore_after' -a work -d 'Run a command for each job: the workload is its input, what it prints is the result'
complete -c gearstore -n '__gearstore_after' -a backup -d 'Copy all jobs to a file, as they are at one moment, while the server goes on'
complete -c gearstore -n '__gearstore_after' -a check -d 'Check that the database is whole and that the queue\'s own rules hold'
complete -c gearstore -n '__gearstore_after' -a doctor -d 'Look at everything that keeps a server from doing what it promises, and say what to do'
complete -c gearstore -n '__gearstore_after' -a export -d 'Print jobs with all that is known of them, one JSON object a line, oldest first; without filters all jobs'
complete -c gearstore -n '__gearstore_after' -a import -d 'Take in the jobs of another queue: gearmand\'s SQLite file, or what `gearstore export` printed'
complete -c gearstore -n '__gearstore_after config' -a show -d 'Show each setting and where it comes from: a flag, a variable, the file, or the default'
complete -c gearstore -n '__gearstore_after config' -a check -d 'Check the configuration file and the environment as `gearstore serve` would; print ok, or what is wrong'
complete -c gearstore -n '__gearstore_after config' -a sample -d 'Print a configuration file that explains every setting and, being all comments, sets none'
complete -c gearstore -n __gearstore_after -a config

complete -c gearstore -n '__gearstore_is serve' -l config -l config-file -r -F -d 'Configuration file (TOML)'
complete -c gearstore -n '__gearstore_is serve' -l check-config -l check-args -d 'Check the configuration, print ok, and end'
complete -c gearstore -n '__gearstore_is serve' -l listen -s L -r -d 'Address to listen on: HOST[:PORT], [IPV6]:PORT or unix:PATH; may be repeated; * is every address'
complete -c gearstore -n '__gearstore_is serve' -l port -s p -r -d 'Port of the addresses that name none'
complete -c gearstore -n '__gearstore_is serve' -l backlog -s b -r -d 'Connections that may wait to be accepted'
complete -c gearstore -n '__gearstore_is serve' -l keepalive -d 'Notice peers that vanished without a word (TCP keepalive)'
complete -c gearstore -n '__gearstore_is serve' -l no-keepalive -d 'Not: Notice peers that vanished without a word (TCP keepalive)'
complete -c gearstore -n '__gearstore_is serve' -l keepalive-idle -r -d 'Seconds of silence before the first keepalive probe'
complete -c gearstore -n '__gearstore_is serve' -l keepalive-interval -r -d 'Seconds between two keepalive probes'
complete -c gearstore -n '__gearstore_is serve' -l keepalive-count -r -d 'Unanswered keepalive probes after which a peer is lost'
complete -c gearstore -n '__gearstore_is serve' -l manage-from -r -a 'loopback any' -d 'Where verbs that change jobs are taken from: loopback (and the Unix socket), or any'
complete -c gearstore -n '__gearstore_is serve' -l db -r -F -d 'The database that holds the jobs'
complete -c gearstore -n '__gearstore_is serve' -l memory -d 'Store nothing: every job is lost when the server ends'
complete -c gearstore -n '__gearstore_is serve' -l no-memory -d 'Not: Store nothing: every job is lost when the server ends'
complete -c gearstore -n '__gearstore_is serve' -l sync -r -d 'full: an acknowledged job survives a power cut; interval:MS: a power cut may lose the last MS milliseconds'
complete -c gearstore -n '__gearstore_is serve' -l window -r -d 'Queued jobs of one function and priority that are held in memory; the others wait on disk'
complete -c gearstore -n '__gearstore_is serve' -l job-retries -s j -r -d 'Attempts in all before a job whose workers were lost is failed; 0 is no limit'
complete -c gearstore -n '__gearstore_is serve' -l max-interruptions -r -d 'Ends of the server that a running job may see before it is held for the operator; 0 is no limit'
complete -c gearstore -n '__gearstore_is serve' -l round-robin -s R -d 'Take a worker\'s functions in turn instead of emptying one after the other'
complete -c gearstore -n '__gearstore_is serve' -l no-round-robin -d 'Not: Take a worker\'s functions in turn instead of emptying one after the other'
complete -c gearstore -n '__gearstore_is serve' -l worker-wakeup -s w -r -d 'Sleeping workers to wake for each new job; 0 is all of them; auto: one a job, and more when it doesn\'t come'
complete -c gearstore -n '__gearstore_is serve' -l priority-scope -r -a 'function global' -d 'function: priorities order the jobs of each function; global: those of all functions of a worker'
complete -c gearstore -n '__gearstore_is serve' -l exceptions -d 'Send every client the exceptions of its jobs, also if it didn\'t ask for them'
complete -c gearstore -n '__gearstore_is serve' -l no-exceptions -d 'Not: Send every client the exceptions of its jobs, also if it didn\'t ask for them'
complete -c gearstore -n '__gearstore_is serve' -l job-handle-prefix -r -d 'What handles begin with; by default H: and the host\'s name'
complete -c gearstore -n '__gearstore_is serve' -l keep-done -r -d 'How long done and cancelled jobs are kept: 7d, age=7d,count=1000000,bytes=1G, forever, or none'
complete -c gearstore -n '__gearstore_is serve' -l keep-failed -r -d 'How long failed jobs are kept'
complete -c gearstore -n '__gearstore_is serve' -l store-result -r -d 'Largest result that is kept with its job; also true or false'
complete -c gearstore -n '__gearstore_is serve' -l max-packet -r -d 'Largest packet that is taken'
complete -c gearstore -n '__gearstore_is serve' -l max-output -r -d 'Answers that a connection may leave unread before it is dropped'
complete -c gearstore -n '__gearstore_is serve' -l file-descriptors -s f -r -d 'Open files that the server may have, one a connection; 0 leaves the limit as it is'
complete -c gearstore -n '__gearstore_is serve' -l drain-timeout -r -d 'Seconds that running jobs get to end when the server is told to stop'
complete -c gearstore -n '__gearstore_is serve' -l loop -r -a 'auto uvloop asyncio' -d 'The event loop: uvloop, asyncio, or auto, which takes uvloop if it is installed'
complete -c gearstore -n '__gearstore_is serve' -l log-level -l verbose -r -a 'FATAL ALERT CRITICAL ERROR WARNING NOTICE INFO DEBUG' -d 'What is logged: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG'
complete -c gearstore -n '__gearstore_is serve' -l log-file -s l -r -F -d 'Where the log goes: a file, stderr, or none'
complete -c gearstore -n '__gearstore_is serve' -l pid-file -s P -r -F -d 'File that holds the server\'s process id while it runs'

complete -c gearstore -n '__gearstore_is submit' -a '(__gearstore_ask status)'
complete -c gearstore -n '__gearstore_is submit' -l file -r -F -d 'Read the workload from a file'
complete -c gearstore -n '__gearstore_is submit' -l unique -s u -r -d 'Equal uniques of a function become one job'
complete -c gearstore -n '__gearstore_is submit' -l priority -s p -r -a 'high normal low' -d 'Priority'
complete -c gearstore -n '__gearstore_is submit' -l in -r -d 'Run it later: 90s, 10m, 1h30m, 2d'
complete -c gearstore -n '__gearstore_is submit' -l at -r -d 'Run it then: 14:00, \'2026-12-01 08:00\', ISO'
complete -c gearstore -n '__gearstore_is submit' -l wait -d 'Wait for the result and print it; the job is not stored'
complete -c gearstore -n '__gearstore_is submit' -l count -s n -r -d 'Submit so many copies'
complete -c gearstore -n '__gearstore_is submit' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is status' -l function -s f -r -a '(__gearstore_ask status)' -d 'Functions, with * ? [...]'
complete -c gearstore -n '__gearstore_is status' -l watch -s w -d 'Go on until Ctrl-C, every SECONDS'
complete -c gearstore -n '__gearstore_is status' -l check -d 'Print one line for Nagios or Icinga; the exit code is the state'
complete -c gearstore -n '__gearstore_is status' -l warn -r -d '--check: WARNING if more jobs wait'
complete -c gearstore -n '__gearstore_is status' -l crit -r -d '--check: CRITICAL if more jobs wait'
complete -c gearstore -n '__gearstore_is status' -l max-age -r -d '--check: CRITICAL if a job waits longer, as 10m'
complete -c gearstore -n '__gearstore_is status' -l max-failed -r -d '--check: WARNING if more are failed or held'
complete -c gearstore -n '__gearstore_is status' -l max-pause -r -d '--check: WARNING if a pause is older (1h)'
complete -c gearstore -n '__gearstore_is status' -l total -d '--check: compare the total, not each function'
complete -c gearstore -n '__gearstore_is status' -l timeout -r -d '--check: UNKNOWN if there is no answer by then (10s)'
complete -c gearstore -n '__gearstore_is status' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is status' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is status' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is workers' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is workers' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is top' -l interval -s i -r -d 'How often to look'
complete -c gearstore -n '__gearstore_is top' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is tail' -l follow -s f -d 'Go on until Ctrl-C'
complete -c gearstore -n '__gearstore_is tail' -l lines -s n -r -d 'Begin with the last N endings'
complete -c gearstore -n '__gearstore_is tail' -l function -r -a '(__gearstore_ask status)' -d 'Functions, with * ? [...]'
complete -c gearstore -n '__gearstore_is tail' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State that jobs have come to; may be repeated'
complete -c gearstore -n '__gearstore_is tail' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is tail' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is tail' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is jobs' -a '(__gearstore_ask jobs --limit 100)'
complete -c gearstore -n '__gearstore_is jobs' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is jobs' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is jobs' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is jobs' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is jobs' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is jobs' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is jobs' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is jobs' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is jobs' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is jobs' -l oldest -d 'Oldest first; else newest first'
complete -c gearstore -n '__gearstore_is jobs' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is jobs' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is jobs' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is show' -a '(__gearstore_ask jobs --limit 100)'
complete -c gearstore -n '__gearstore_is show' -l payload -l workload -d 'Print the workload of one job, as it is'
complete -c gearstore -n '__gearstore_is show' -l result -d 'Print the result of one job, as it is'
complete -c gearstore -n '__gearstore_is show' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is show' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is show' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is failures' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is failures' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is failures' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is failures' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is cancel' -a '(__gearstore_ask jobs --limit 100 --state=queued --state=delayed --state=held --state=running)'
complete -c gearstore -n '__gearstore_is cancel' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is cancel' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is cancel' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is cancel' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is cancel' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is cancel' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is cancel' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is cancel' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is cancel' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is cancel' -l rate -r -d 'At most so many jobs a second'
complete -c gearstore -n '__gearstore_is cancel' -l dry-run -s n -d 'Change nothing; print how many jobs, and three of them'
complete -c gearstore -n '__gearstore_is cancel' -l yes -s y -d 'Don\'t ask before more than one job'
complete -c gearstore -n '__gearstore_is cancel' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is cancel' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is retry' -a '(__gearstore_ask jobs --limit 100 --state=failed --state=held)'
complete -c gearstore -n '__gearstore_is retry' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is retry' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is retry' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is retry' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is retry' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is retry' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is retry' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is retry' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is retry' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is retry' -l delay -r -d 'Have them wait so long first: 10m, 2h'
complete -c gearstore -n '__gearstore_is retry' -l rate -r -d 'At most so many jobs a second'
complete -c gearstore -n '__gearstore_is retry' -l dry-run -s n -d 'Change nothing; print how many jobs, and three of them'
complete -c gearstore -n '__gearstore_is retry' -l yes -s y -d 'Don\'t ask before more than one job'
complete -c gearstore -n '__gearstore_is retry' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is retry' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is replay' -a '(__gearstore_ask jobs --limit 100 --state=done --state=failed)'
complete -c gearstore -n '__gearstore_is replay' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is replay' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is replay' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is replay' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is replay' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is replay' -l unique-is -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is replay' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is replay' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is replay' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is replay' -l delay -r -d 'Have them wait so long first: 10m, 2h'
complete -c gearstore -n '__gearstore_is replay' -l as-function -r -d 'Submit the copies to this function'
complete -c gearstore -n '__gearstore_is replay' -l unique -r -a 'keep drop' -d 'Give the copies the unique of the job, or none'
complete -c gearstore -n '__gearstore_is replay' -l again -d 'Also what has been replayed already'
complete -c gearstore -n '__gearstore_is replay' -l rate -r -d 'At most so many jobs a second'
complete -c gearstore -n '__gearstore_is replay' -l dry-run -s n -d 'Change nothing; print how many jobs, and three of them'
complete -c gearstore -n '__gearstore_is replay' -l yes -s y -d 'Don\'t ask before more than one job'
complete -c gearstore -n '__gearstore_is replay' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is replay' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is hold' -a '(__gearstore_ask jobs --limit 100 --state=queued --state=delayed)'
complete -c gearstore -n '__gearstore_is hold' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is hold' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is hold' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is hold' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is hold' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is hold' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is hold' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is hold' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is hold' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is hold' -l rate -r -d 'At most so many jobs a second'
complete -c gearstore -n '__gearstore_is hold' -l dry-run -s n -d 'Change nothing; print how many jobs, and three of them'
complete -c gearstore -n '__gearstore_is hold' -l yes -s y -d 'Don\'t ask before more than one job'
complete -c gearstore -n '__gearstore_is hold' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is hold' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is release' -a '(__gearstore_ask jobs --limit 100 --state=held)'
complete -c gearstore -n '__gearstore_is release' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is release' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is release' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is release' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is release' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is release' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is release' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is release' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is release' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is release' -l delay -r -d 'Have them wait so long first: 10m, 2h'
complete -c gearstore -n '__gearstore_is release' -l rate -r -d 'At most so many jobs a second'
complete -c gearstore -n '__gearstore_is release' -l dry-run -s n -d 'Change nothing; print how many jobs, and three of them'
complete -c gearstore -n '__gearstore_is release' -l yes -s y -d 'Don\'t ask before more than one job'
complete -c gearstore -n '__gearstore_is release' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is release' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is purge' -a '(__gearstore_ask jobs --limit 100 --state=done --state=failed --state=cancelled)'
complete -c gearstore -n '__gearstore_is purge' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is purge' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is purge' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is purge' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is purge' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is purge' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is purge' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is purge' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is purge' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is purge' -l rate -r -d 'At most so many jobs a second'
complete -c gearstore -n '__gearstore_is purge' -l dry-run -s n -d 'Change nothing; print how many jobs, and three of them'
complete -c gearstore -n '__gearstore_is purge' -l yes -s y -d 'Don\'t ask before more than one job'
complete -c gearstore -n '__gearstore_is purge' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is purge' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is pause' -a '(__gearstore_ask status)'
complete -c gearstore -n '__gearstore_is pause' -l for -r -d 'Resume by itself after that: 10m, 2h'
complete -c gearstore -n '__gearstore_is pause' -l hold -d 'Hold the jobs that wait now: they stay when the function is resumed'
complete -c gearstore -n '__gearstore_is pause' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is pause' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is resume' -a '(__gearstore_ask status)'
complete -c gearstore -n '__gearstore_is resume' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is resume' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is drain' -a '(__gearstore_ask status)'
complete -c gearstore -n '__gearstore_is drain' -l timeout -r -d 'Give up waiting after that, with exit code 1'
complete -c gearstore -n '__gearstore_is drain' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is work' -a '(__gearstore_work)'
complete -c gearstore -n '__gearstore_is work' -l parallel -s j -r -d 'Jobs at a time'
complete -c gearstore -n '__gearstore_is work' -l count -s c -r -d 'End after so many jobs'
complete -c gearstore -n '__gearstore_is work' -l timeout -r -d 'Kill a command that takes longer'
complete -c gearstore -n '__gearstore_is work' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is backup' -F
complete -c gearstore -n '__gearstore_is backup' -l force -d 'Replace FILE if it is there'
complete -c gearstore -n '__gearstore_is backup' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is backup' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is backup' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is check' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is check' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is check' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is doctor' -l config -l config-file -r -F -d 'Configuration (default: /etc/gearstore/gearstore.toml, if it is there)'
complete -c gearstore -n '__gearstore_is doctor' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is doctor' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is doctor' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is export' -a '(__gearstore_ask jobs --limit 100)'
complete -c gearstore -n '__gearstore_is export' -l function -s f -r -a '(__gearstore_ask status)' -d 'Function, with * ? [...]'
complete -c gearstore -n '__gearstore_is export' -l state -r -a 'queued delayed running held done failed cancelled' -d 'State: queued, delayed, running, held, done, failed, cancelled; may be repeated'
complete -c gearstore -n '__gearstore_is export' -l since -r -d 'Submitted then or later: 2h, 14:00, date and time'
complete -c gearstore -n '__gearstore_is export' -l until -r -d 'Submitted before then'
complete -c gearstore -n '__gearstore_is export' -l error -r -d 'Text contained in the error or the reason'
complete -c gearstore -n '__gearstore_is export' -l unique -r -d 'The client\'s unique, exactly'
complete -c gearstore -n '__gearstore_is export' -l payload-match -r -d 'Text contained in the workload'
complete -c gearstore -n '__gearstore_is export' -l cause -r -d 'Cause, as failures shows it; may be repeated'
complete -c gearstore -n '__gearstore_is export' -l limit -r -d 'At most so many jobs'
complete -c gearstore -n '__gearstore_is export' -l db -r -F -d 'Read this database, or backup, instead of asking a server'
complete -c gearstore -n '__gearstore_is export' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is import' -F
complete -c gearstore -n '__gearstore_is import' -l table -r -d 'Table of gearmand\'s queue'
complete -c gearstore -n '__gearstore_is import' -l dry-run -s n -d 'Read everything, change nothing'
complete -c gearstore -n '__gearstore_is import' -l rejects -r -F -d 'Where what is no job goes (default: FILE.rejected.jsonl, here)'
complete -c gearstore -n '__gearstore_is import' -l force -d 'Read a queue of gearmand although a process has it open'
complete -c gearstore -n '__gearstore_is import' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is import' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is config show' -l function -s f -r -a '(__gearstore_ask status)' -d 'Show the policy of a function'
complete -c gearstore -n '__gearstore_is config show' -l config -l config-file -r -F -d 'Configuration file (TOML)'
complete -c gearstore -n '__gearstore_is config show' -l json -d 'Print JSON, one object a line'
complete -c gearstore -n '__gearstore_is config show' -l server -s s -r -d 'Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH'

complete -c gearstore -n '__gearstore_is config check' -l config -l config-file -r -F -d 'Configuration file (TOML)'

