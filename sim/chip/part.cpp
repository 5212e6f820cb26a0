#include "chip/part.h"

#include <fmt/core.h>

namespace memwall::chip {

namespace {

constexpr auto later = [](const WaitingMessage& a, const WaitingMessage& b) { return b.key < a.key; };

}  // namespace

Part::Part(const sc_core::sc_module_name& name, Grid& grid, std::uint32_t id)
    : sc_core::sc_module(name), grid_(grid), id_(id) {}

void Part::refuse(const Message& message) const {
    if (grid_.tick_of(message.due_ps) > grid_.tick) {
        throw ModelError(fmt::format("{}: a message in a lane is due at {} ps, before its predecessor at {} ps", name(),
                                     message.due_ps, lane_last_ps_));
    }
    throw ModelError(
        fmt::format("{}: a message is due at {} ps, inside the window in progress (it ends at {} ps): a path "
                    "is shorter than the lookahead",
                    name(), message.due_ps, (grid_.tick + 1) * grid_.step_ps()));
}

void Part::post(std::int64_t due_ps, std::uint32_t kind, std::uint32_t payload, std::uint32_t arg) {
    // Its place in the queue counts from the window's begin: an earlier time would come out as a late one.
    if (due_ps < window_begin_ps_) {
        throw ModelError(fmt::format(
            "{}: a message of kind {} to itself is due at {} ps, before the window in progress (it began at {} ps)",
            name(), kind, due_ps, window_begin_ps_));
    }
    const Message message{due_ps, next_order(), payload, arg, kind};
    if (due_ps < window_end_ps_) {
        local_.push_back({message, window_begin_ps_});
        std::push_heap(local_.begin(), local_.end(), later);
    } else {
        const std::int64_t tick = grid_.tick_of(due_ps);
        mailbox_.push(grid_.pool, tick, tick_, {message, tick * grid_.step_ps()});
    }
}

Message Part::take_local() {
    std::pop_heap(local_.begin(), local_.end(), later);
    const Message message = local_.back().message(window_begin_ps_);
    local_.pop_back();
    return message;
}

void Part::wake_at(std::int64_t due_ps) {
    asked_tick_ = std::min(asked_tick_, std::max(grid_.tick_of(due_ps), tick_ + 1));
}

void Part::open_window() {
    ++grid_.activations;
    tick_ = static_cast<std::int64_t>(sc_core::sc_time_stamp().value()) / grid_.step_ps();
    grid_.tick = tick_;
    window_begin_ps_ = tick_ * grid_.step_ps();
    window_end_ps_ = window_begin_ps_ + grid_.step_ps();
    next_wake_tick_ = Mailbox::kNoTick;
    asked_tick_ = Mailbox::kNoTick;
    work_.clear();
    work_next_ = 0;
    mailbox_.take(grid_.pool, tick_, work_);
    sort_window(work_, scratch_, grid_.step_ps());
    look_at_lane();
}

void Part::close_window() {
    std::int64_t tick = std::min(mailbox_.next_tick(tick_), asked_tick_);
    if (!lane_.empty()) tick = std::min(tick, grid_.tick_of(lane_.front().due_ps));
    if (tick != Mailbox::kNoTick) schedule(tick);
}

void Part::notify(std::int64_t tick) {
    next_wake_tick_ = tick;
    // SystemC keeps the earlier of two notifications of one event, which is what a part wants.
    const auto now = static_cast<std::int64_t>(sc_core::sc_time_stamp().value());
    wake_.notify(sc_core::sc_time::from_value(static_cast<sc_dt::uint64>(tick * grid_.step_ps() - now)));
}

}  // namespace memwall::chip

/// SystemC's library wants one; memwall elaborates its chips itself and never calls it.
int sc_main(int, char*[]) {
    return 1;
}
