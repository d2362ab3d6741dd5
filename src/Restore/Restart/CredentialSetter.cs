using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore.Restart;

/// <summary>Gives a thread the user, groups and capabilities that its process had. The last thing that needs privileges.</summary>
internal static class CredentialSetter
{
    private const uint CapabilityVersion3 = 0x20080522; // _LINUX_CAPABILITY_VERSION_3, capget(2)
    private const int LastCapability = 40;              // CAP_CHECKPOINT_RESTORE, linux/capability.h

    /// <summary>Sets them, as far as they differ from the stub's, which are crstore's.</summary>
    public static void Set(Puppet puppet, Process process, Credentials mine)
    {
        var theirs = process.Credentials;
        if (theirs.Seccomp != 0) throw new TargetException($"process {process.Pid} has a seccomp filter", "processes with seccomp filters don't restart");
        if (!theirs.Groups.SequenceEqual(mine.Groups))
        {
            var groups = new byte[Math.Max(4, theirs.Groups.Count * 4)];
            for (var i = 0; i < theirs.Groups.Count; i++) BinaryPrimitives.WriteUInt32LittleEndian(groups.AsSpan(i * 4), theirs.Groups[i]);
            puppet.Queue("setgroups", SystemCalls.SetGroups, theirs.Groups.Count, (long)puppet.Place(groups));
        }

        if (!theirs.Gid.SequenceEqual(mine.Gid))
        {
            puppet.Queue("setresgid", SystemCalls.SetResGid, theirs.Gid[0], theirs.Gid[1], theirs.Gid[2]);
            puppet.Queue("setfsgid", SystemCalls.SetFsGid, theirs.Gid[3]);
        }

        var otherUser = !theirs.Uid.SequenceEqual(mine.Uid);
        if (otherUser)
        {
            // Permitted capabilities outlive the change of user, for the next calls.
            puppet.Queue("prctl(PR_SET_KEEPCAPS)", SystemCalls.Prctl, SystemCalls.PrSetKeepCaps, 1, 0, 0, 0);
            puppet.Queue("setresuid", SystemCalls.SetResUid, theirs.Uid[0], theirs.Uid[1], theirs.Uid[2]);
            puppet.Queue("setfsuid", SystemCalls.SetFsUid, theirs.Uid[3]);
            puppet.Queue("prctl(PR_SET_KEEPCAPS)", SystemCalls.Prctl, SystemCalls.PrSetKeepCaps, 0, 0, 0, 0);
        }

        var dropped = mine.CapBounding & ~theirs.CapBounding;
        var raised = theirs.CapAmbient & ~mine.CapAmbient;
        var others = otherUser || theirs.CapPermitted != mine.CapPermitted || theirs.CapEffective != mine.CapEffective || theirs.CapInheritable != mine.CapInheritable;
        if (others || process.Securebits != 0) SetCapabilities(puppet, mine.CapPermitted, mine.CapPermitted, theirs.CapInheritable);
        // What is inheritable may not be bounded any more: after that.
        for (var capability = 0; capability <= LastCapability; capability++)
            if ((dropped & (1UL << capability)) != 0) puppet.Queue($"dropping capability {capability}", SystemCalls.Prctl, SystemCalls.PrCapbsetDrop, capability, 0, 0, 0);
        // Before the secure bits, which may forbid it; what is not permitted in the end goes with the last call.
        for (var capability = 0; capability <= LastCapability; capability++)
            if ((raised & (1UL << capability)) != 0)
                puppet.Queue($"ambient capability {capability}", SystemCalls.Prctl, SystemCalls.PrCapAmbient, SystemCalls.PrCapAmbientRaise, capability, 0, 0);
        // All at once: those that lock others, PR_SET_KEEPCAPS among them, come with what they lock.
        if (process.Securebits != 0) puppet.Queue("prctl(PR_SET_SECUREBITS)", SystemCalls.Prctl, SystemCalls.PrSetSecurebits, process.Securebits, 0, 0, 0);
        if (others) SetCapabilities(puppet, theirs.CapEffective, theirs.CapPermitted, theirs.CapInheritable);
        if (theirs.NoNewPrivs) puppet.Queue("prctl(PR_SET_NO_NEW_PRIVS)", SystemCalls.Prctl, SystemCalls.PrSetNoNewPrivs, 1, 0, 0, 0);
        puppet.Flush();
    }
    private static void SetCapabilities(Puppet puppet, ulong effective, ulong permitted, ulong inheritable)
    {
        var header = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(header, CapabilityVersion3);
        var sets = new byte[24];
        for (var word = 0; word < 2; word++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(sets.AsSpan(word * 12), (uint)(effective >> (32 * word)));
            BinaryPrimitives.WriteUInt32LittleEndian(sets.AsSpan(word * 12 + 4), (uint)(permitted >> (32 * word)));
            BinaryPrimitives.WriteUInt32LittleEndian(sets.AsSpan(word * 12 + 8), (uint)(inheritable >> (32 * word)));
        }

        puppet.Queue("capset", SystemCalls.CapSet, (long)puppet.Place(header), (long)puppet.Place(sets));
    }
}
