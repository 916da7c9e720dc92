# A client on Gearman::Client; see languages.py for the arguments.
use strict;
use warnings;
use Gearman::Client;

my ($port, $function, $mode, $unique) = @ARGV;
my $client = Gearman::Client->new(job_servers => ["127.0.0.1:$port"]);
binmode STDIN;
binmode STDOUT;
my $workload = do { local $/; <STDIN> } // '';
my %options = (priority => $mode =~ /(high|low)$/ ? $1 : 'normal', timeout => 20);
$options{uniq} = $unique if defined $unique;
if ($mode =~ /^bg/) {
    my $handle = $client->dispatch_background($function, $workload, \%options) or exit 1;
    print +(split m{//}, $handle)[1], "\n";
} else {
    my $result = $client->do_task($function, $workload, \%options) or exit 1;
    print $$result;
}
