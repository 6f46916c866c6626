namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>
/// One queue's interrupt, moderated as by ethtool -C: it falls due a while after the first frame that waits, or as soon as enough of them wait. While the driver polls the
/// queue (NAPI) the interrupt is masked.
/// </summary>
internal sealed class InterruptModeration(int delayUs, int frames)
{
    private int _waiting;

    /// <summary>When the interrupt is due; <see cref="long.MaxValue"/> while it is masked or nothing waits.</summary>
    public long DueUs { get; private set; } = long.MaxValue;

    /// <summary>False while the driver polls.</summary>
    public bool Enabled { get; private set; } = true;

    /// <summary>Interrupts raised.</summary>
    public long Raised { get; private set; }

    /// <summary>The NIC completed a frame.</summary>
    public void OnFrame(long nowUs)
    {
        if (!Enabled)
        {
            return;
        }

        _waiting++;
        if (_waiting == 1)
        {
            DueUs = nowUs + delayUs;
        }

        if (_waiting == frames)
        {
            DueUs = Math.Min(DueUs, nowUs);
        }
    }

    /// <summary>Raises the interrupt if it is due, and masks it: from now on the driver polls.</summary>
    public bool TryRaise(long nowUs)
    {
        if (nowUs < DueUs)
        {
            return false;
        }

        Disable();
        Raised++;
        return true;
    }

    /// <summary>The driver found the queue empty and goes back to interrupts.</summary>
    public void Enable() => Enabled = true;

    /// <summary>Masks it: nothing is raised until <see cref="Enable"/>.</summary>
    public void Disable()
    {
        Enabled = false;
        DueUs = long.MaxValue;
        _waiting = 0;
    }
}
