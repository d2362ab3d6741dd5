namespace Crstore.Linux.Sockets;

/// <summary>
/// The calling thread acts with another effective user and group, as setresuid(2) of the kernel does it (libc's changes all threads).
/// What is made meanwhile belongs to that user, and what only root's groups may is denied. Only root can; for anybody else nothing changes.
/// </summary>
public sealed unsafe class ThreadIdentity : IDisposable
{
    private const long GetGroups = 115, SetGroups = 116, SetResUid = 117, SetResGid = 119, GetEUid = 107, GetEGid = 108; // syscall_64.tbl
    private readonly uint[] groups = [];
    private readonly long uid = RawSyscall.Invoke(GetEUid), gid = RawSyscall.Invoke(GetEGid);
    private readonly bool changed;

    private ThreadIdentity(uint asUid, uint asGid)
    {
        if (uid != 0 || (asUid == uid && asGid == gid)) return;
        changed = true;
        groups = new uint[RawSyscall.Checked("getgroups", null, GetGroups)];
        fixed (uint* at = groups) RawSyscall.Checked("getgroups", null, GetGroups, groups.Length, (long)at);
        try
        {
            RawSyscall.Checked("setgroups", null, SetGroups);
            RawSyscall.Checked("setresgid", null, SetResGid, -1, asGid, -1);
            RawSyscall.Checked("setresuid", null, SetResUid, -1, asUid, -1);
        }
        catch
        {
            Dispose(); // what was changed before the one that failed: the thread is used again
            throw;
        }
    }

    /// <summary>Until it is disposed of, on the same thread.</summary>
    public static ThreadIdentity As(uint uid, uint gid) => new(uid, gid);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!changed) return;
        RawSyscall.Checked("setresuid", null, SetResUid, -1, uid, -1);
        RawSyscall.Checked("setresgid", null, SetResGid, -1, gid, -1);
        fixed (uint* at = groups) RawSyscall.Checked("setgroups", null, SetGroups, groups.Length, (long)at);
    }
}
