using System.Diagnostics;
using Crstore.Cli;

// First of all: total_ns of a capture counts from here.
var startedAt = Stopwatch.GetTimestamp();
return CommandRunner.Run(args, startedAt);
