<?php
// The worker of the guide. Without arguments it uses the default server, as there.
$worker = new GearmanWorker();
$worker->addServer(...array_slice($argv, 1));
$worker->addFunction('fonctionJob', 'maFonctionJob');
while($worker->work());

function maFonctionJob(GearmanJob $job) {
    $params = $job->workload();
    echo "Traitement du JOB avec le paramètre : $params";
}
