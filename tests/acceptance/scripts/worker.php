<?php
// A worker on PHP's extension that knows the behaviour `twice`; see languages.py for the arguments.
[, $port, $function] = $argv;
$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) $port);
$worker->addFunction($function, function (GearmanJob $job) {
    echo $job->handle(), ' ', bin2hex($job->workload()), "\n";
    return $job->workload() . $job->workload();
});
while (@$worker->work());
