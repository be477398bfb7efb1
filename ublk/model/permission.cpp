// Who may do what: flags that ADD_DEV takes and from whom, and commands on devices by their sender.
#include "ublk/model/control_table.hpp"
#include "ublk/model/step.hpp"

namespace ublk::model {

namespace {

bool is_valid_recovery(Features flags)
{
    const bool recovery = flags.has(Feature::user_recovery),
               reissue = flags.has(Feature::user_recovery_reissue),
               fail = flags.has(Feature::user_recovery_fail_io);
    return recovery ? !(reissue && fail) : !reissue && !fail;
}

// What the kernel makes of the request before it looks at combinations.
Features known(Features asked, const KernelTraits& kernel, Sender sender)
{
    const Features flags = asked & kernel.features;
    return sender == Sender::root ? flags.without(Feature::unprivileged_dev) : flags;
}

} // namespace

Features granted(Features asked, const KernelTraits& kernel, Sender sender)
{
    const Features always = Feature::cmd_ioctl_encode | Feature::uring_cmd_comp_in_task |
                            Feature::per_io_daemon | Feature::buf_reg_off_daemon | Feature::safe_stop_dev;
    Features flags = known(asked, kernel, sender) | (always & kernel.features);
    if (flags.has(Feature::batch_io))
        flags = flags.without(Feature::per_io_daemon | Feature::need_get_data);
    if (flags.has_any(Feature::user_copy | Feature::support_zero_copy | Feature::auto_buf_reg))
        flags = flags.without(Feature::need_get_data);
    if (flags.has(Feature::unprivileged_dev)) // what asks for a recovery stays
        flags = flags.without(Feature::user_recovery | Feature::user_recovery_reissue);
    return flags;
}

std::int32_t flags_error(Features asked, Sender sender, const KernelTraits& kernel)
{
    const Features flags = known(asked, kernel, sender);
    if (sender != Sender::root && !flags.has(Feature::unprivileged_dev))
        return -EPERM;
    const bool recovery = kernel.any_recovery || is_valid_recovery(flags);
    const bool quiesce = !flags.has(Feature::quiesce) || flags.has(Feature::user_recovery);
    const bool integrity = !flags.has(Feature::integrity) || flags.has(Feature::user_copy);
    // An ordinary user's server never gets at the pages of others.
    const bool pages =
        !flags.has(Feature::unprivileged_dev) ||
        !flags.has_any(Feature::user_copy | Feature::support_zero_copy | Feature::auto_buf_reg);
    return recovery && quiesce && integrity && pages ? 0 : -EINVAL;
}

std::int32_t not_permitted(const Command& command, Features device, const KernelTraits& kernel)
{
    const bool root = command.sender == Sender::root;
    if (!device.has(Feature::unprivileged_dev))
        return root ? 0 : -EPERM;
    if (command.path == Given::zero)
        return -EINVAL;
    const Features since = control_row(command.verb)->since;
    const bool unknown = !since.empty() && !kernel.features.has_any(since);
    if (command.verb == Verb::del_async || unknown)
        return -EINVAL;
    if (command.path == Given::wrong)
        return -EPERM;
    return command.sender == Sender::stranger ? -EACCES : 0;
}

std::int32_t disk_open_error(Features device, bool tried, Sender sender)
{
    if (sender == Sender::root)
        return 0;
    if (device.has(Feature::unprivileged_dev) && sender == Sender::stranger)
        return -EPERM;
    return tried ? -ENXIO : 0; // UBLK-CTRL-TRY-005
}

} // namespace ublk::model
