using System.Buffers.Binary;

namespace Crstore.Capture.Injection;

/// <summary>
/// The dozen x86-64 instructions that the injected code consists of (Intel SDM volume 2). None of them touches the thread's
/// stack: those that pop have the stack pointer in the slot itself, or in a table of calls.
/// </summary>
internal ref struct CodeWriter(Span<byte> buffer)
{
    /// <summary>Registers by their encoding number.</summary>
    internal enum Register : byte
    {
        Rax = 0, Rcx = 1, Rdx = 2, Rsi = 6, Rdi = 7, R8 = 8, R9 = 9, R10 = 10, R11 = 11,
    }

    private readonly Span<byte> _buffer = buffer;

    /// <summary>Bytes written so far: the offset of the next instruction.</summary>
    public int Offset { get; private set; }

    /// <summary>syscall: 0f 05. Clobbers rax, rcx and r11; keeps the flags.</summary>
    public void Syscall() => Bytes(0x0f, 0x05);

    /// <summary>mov r32, imm32: b8+r imm (41 before r8 and up). Zero-extends, keeps the flags.</summary>
    public void Move(Register register, uint value)
    {
        if (register >= Register.R8) Bytes(0x41);
        Bytes((byte)(0xb8 + ((byte)register & 7)));
        BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);
    }

    /// <summary>movabs r64, imm64: 48 b8+r imm (49 for r8 and up). Keeps the flags.</summary>
    public void MoveLong(Register register, ulong value)
    {
        Bytes((byte)(register >= Register.R8 ? 0x49 : 0x48), (byte)(0xb8 + ((byte)register & 7)));
        BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);
    }

    /// <summary>pop r64: 58+r (41 before r8 and up).</summary>
    public void Pop(Register register)
    {
        if (register >= Register.R8) Bytes(0x41);
        Bytes((byte)(0x58 + ((byte)register & 7)));
    }

    /// <summary>mov [rsp + displacement], rax: 48 89 44 24 disp8.</summary>
    public void StoreRax(sbyte displacement) => Bytes(0x48, 0x89, 0x44, 0x24, (byte)displacement);

    /// <summary>mov r8, rax: 49 89 c0.</summary>
    public void MoveRaxToR8() => Bytes(0x49, 0x89, 0xc0);

    /// <summary>mov rax, r8: 4c 89 c0.</summary>
    public void MoveR8ToRax() => Bytes(0x4c, 0x89, 0xc0);

    /// <summary>or r9, rax: 49 09 c1.</summary>
    public void OrRaxToR9() => Bytes(0x49, 0x09, 0xc1);

    /// <summary>xor r32, r32 of the same register: 31 c0+9r. Zero in two bytes; rax to rdi only, changes the flags.</summary>
    public void Clear(Register register) => Bytes(0x31, (byte)(0xc0 + 9 * (byte)register));

    /// <summary>test rax, rax: 48 85 c0; then js over the next bytes: 78 rel8; jnz over fewer of them: 75 rel8.</summary>
    public void SkipIfNegativeOrPositive(int negative, int positive) => Bytes(0x48, 0x85, 0xc0, 0x78, checked((byte)(negative + 2)), 0x75, checked((byte)positive));

    /// <summary>jmp to code before: eb rel8.</summary>
    public void JumpBack(int target) => Bytes(0xeb, (byte)checked((sbyte)(target - Offset - 2)));

    /// <summary>mov rdi, rax: 48 89 c7.</summary>
    public void MoveRaxToRdi() => Bytes(0x48, 0x89, 0xc7);

    /// <summary>test rax, rax: 48 85 c0; then js over the next <paramref name="bytes"/> bytes: 78 rel8.</summary>
    public void SkipIfNegative(int bytes) => Bytes(0x48, 0x85, 0xc0, 0x78, checked((byte)bytes));

    /// <summary>cmp rax, -4096: 48 3d 00 f0 ff ff; then ja over the next bytes: 77 rel8. Taken for -4095 to -1, the errno values.</summary>
    public void SkipIfErrno(int bytes) => Bytes(0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, checked((byte)bytes));

    /// <summary>lea rsi, [rip + rel]: 48 8d 35 rel32.</summary>
    public void LoadAddressToRsi(int target) => Relative(target, 0x48, 0x8d, 0x35);

    /// <summary>lea rsp, [rip + rel]: 48 8d 25 rel32.</summary>
    public void LoadAddressToRsp(int target) => Relative(target, 0x48, 0x8d, 0x25);

    /// <summary>mov rsp, [rip + rel]: 48 8b 25 rel32. Keeps the flags.</summary>
    public void LoadRsp(int target) => Relative(target, 0x48, 0x8b, 0x25);

    /// <summary>popfq: 9d.</summary>
    public void PopFlags() => Bytes(0x9d);

    /// <summary>jmp [rip + rel]: ff 25 rel32.</summary>
    public void JumpThrough(int target) => Relative(target, 0xff, 0x25);

    private void Relative(int target, params ReadOnlySpan<byte> opcode)
    {
        Bytes(opcode);
        var field = Take(4);
        BinaryPrimitives.WriteInt32LittleEndian(field, target - Offset); // relative to the end of the instruction
    }

    private void Bytes(params ReadOnlySpan<byte> bytes) => bytes.CopyTo(Take(bytes.Length));

    private Span<byte> Take(int length)
    {
        var span = _buffer.Slice(Offset, length);
        Offset += length;
        return span;
    }
}
