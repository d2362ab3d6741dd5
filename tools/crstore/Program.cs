using System.Diagnostics;
using Crstore.Cli;

// First of all: total_ns of a capture counts from here.
var startedAt = Stopwatch.GetTimestamp();
if (LazyFront.IsWanted(args)) return LazyFront.Run();
return CommandRunner.Run(args, startedAt);
