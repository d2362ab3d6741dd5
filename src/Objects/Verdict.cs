namespace Crstore.Objects;

/// <summary>Whether an object comes back.</summary>
public enum Restartability
{
    /// <summary>As it was, but for what the verdict may say.</summary>
    Restarts,

    /// <summary>By a policy that the user may choose.</summary>
    WithPolicy,

    /// <summary>Not at all.</summary>
    Refused,
}

/// <summary>What becomes of one object at a restart.</summary>
/// <param name="Outcome">Whether it comes back.</param>
/// <param name="Why">One sentence for a person; empty if it simply restarts.</param>
/// <param name="Flag">The option that decides, of a policy.</param>
public readonly record struct Verdict(Restartability Outcome, string Why, string Flag)
{
    /// <summary>It comes back as it was.</summary>
    public static Verdict Restarts { get; } = new(Restartability.Restarts, "", "");

    /// <summary>It comes back, but for what is said.</summary>
    public static Verdict But(string why) => new(Restartability.Restarts, why, "");

    /// <summary>It comes back as an option says.</summary>
    public static Verdict Policy(string flag, string why) => new(Restartability.WithPolicy, why, flag);

    /// <summary>It can't.</summary>
    public static Verdict Refused(string why) => new(Restartability.Refused, why, "");
}
