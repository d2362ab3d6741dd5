using Xunit;

// A capture suspends the garbage collector, and a restart wants the ids that a process has had: one at a time.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
