using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>The process from which all restarted ones descend: started from memory, stopped at once, gone when the tree stands.</summary>
internal static class Stub
{
    /// <summary>Starts it and stops it. On the ptrace thread.</summary>
    /// <param name="address">Where its program is to be: nothing of the restarted processes may be there.</param>
    /// <param name="inherited">The fds that it and its descendants begin with.</param>
    public static Puppet Start(ulong address, IReadOnlyList<(SafeFileHandle Handle, int Number)> inherited)
    {
        int pid;
        using (var program = Descriptors.CreateMemory("crstore-restart"))
        {
            RawFile.Write(program, StubProgram.Elf(address), "the program to begin with");
            // Closed on exec, like every fd of ours: the path is looked up before that.
            pid = Spawn.Start(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{(int)program.DangerousGetHandle()}"), ["crstore-restart"], inherited);
        }

        try
        {
            Ptrace.Seize(pid, Puppet.Options);
            Ptrace.Interrupt(pid);
            var puppet = new Puppet(pid, pid, pid, address);
            puppet.AwaitStop();
            return puppet;
        }
        catch (LinuxException e)
        {
            Puppets.End(pid);
            throw new EnvironmentException($"a process can't be traced here: {e.Message}", "`crstore doctor` says what is missing", e);
        }
    }
}
