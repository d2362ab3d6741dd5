namespace Crstore.Objects.Processes;

/// <summary>What is done in one step of making a tree of processes.</summary>
public enum TreeAct
{
    /// <summary>Another process makes it, and is its parent.</summary>
    Fork,

    /// <summary>Another process makes it by way of one that exits at once, so that its parent is one further up.</summary>
    ForkForAncestor,

    /// <summary>It calls setsid(2).</summary>
    LeadSession,

    /// <summary>It enters a process group, its own or another one: setpgid(2).</summary>
    EnterGroup,

    /// <summary>A helper exits, and its parent waits for it.</summary>
    End,
}

/// <summary>One step of making a tree of processes. Ids that no process of the checkpoint has are helpers'.</summary>
/// <param name="Act">What is done.</param>
/// <param name="Id">By whom; or who is made.</param>
/// <param name="By">Who makes it, or waits for it. <see cref="TreePlan.Stub"/>: whom crstore begins with.</param>
/// <param name="Target">Of <see cref="TreeAct.ForkForAncestor"/>: its parent. Of <see cref="TreeAct.EnterGroup"/>: the group.</param>
public readonly record struct TreeStep(TreeAct Act, int Id, int By = TreePlan.Stub, int Target = 0);
