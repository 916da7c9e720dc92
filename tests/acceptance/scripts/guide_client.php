<?php
// The client of the guide. Without arguments it uses the default server, as there.
$client = new \GearmanClient();
$client->addServer(...array_slice($argv, 1));
$response = $client->doBackground('fonctionJob', 'Paramètres envoyés');
