namespace Crstore.Objects;

/// <summary>What docs/LIMITS.md says of a kind of object; empty where there is nothing to say.</summary>
/// <param name="Restarts">What comes back.</param>
/// <param name="Policy">What comes back as an option says.</param>
/// <param name="Refused">What does not.</param>
public readonly record struct Coverage(string Restarts, string Policy, string Refused);
