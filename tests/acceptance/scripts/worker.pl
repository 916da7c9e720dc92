# A worker on Gearman::Worker that knows the behaviour `twice`; see languages.py for the arguments.
use strict;
use warnings;
use Gearman::Worker;

my ($port, $function) = @ARGV;
$| = 1;
my $worker = Gearman::Worker->new(job_servers => ["127.0.0.1:$port"]);
$worker->register_function($function => sub {
    my $job = shift;
    print $job->handle, ' ', unpack('H*', $job->arg), "\n";
    return $job->arg . $job->arg;
});
$worker->work;
