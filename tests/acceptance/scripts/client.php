<?php
// A client on PHP's extension; see languages.py for the arguments.
[, $port, $function, $mode] = $argv;
$client = new GearmanClient();
$client->addServer('127.0.0.1', (int) $port);
$client->setTimeout(20000);
$workload = stream_get_contents(STDIN);
$call = ['fg' => 'doNormal', 'high' => 'doHigh', 'low' => 'doLow',
    'bg' => 'doBackground', 'bg-high' => 'doHighBackground', 'bg-low' => 'doLowBackground'][$mode];
$result = @$client->$call($function, $workload, $argv[4] ?? null);
echo str_starts_with($mode, 'bg') ? "$result\n" : $result;
exit($client->returnCode() === GEARMAN_SUCCESS ? 0 : 1);
