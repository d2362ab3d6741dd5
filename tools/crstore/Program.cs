using System.Diagnostics;
using Crstore.Cli;
using Crstore.Store;

// First of all: total_ns of a capture counts from here.
var startedAt = Stopwatch.GetTimestamp();
if (LazyFront.IsWanted(args)) return LazyFront.Run();
using var preload = StorePreload.Begin(args is [[not '-', ..], ..]); // a verb: nearly all need the store
return CommandRunner.Run(args, startedAt);
