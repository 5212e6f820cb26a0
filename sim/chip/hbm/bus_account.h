// What the data bus of one pseudo-channel was doing, in command clocks.
//
// A burst is booked when its column command is: the delay to the pins is the same for all bursts of a direction, and
// the spacing between directions contains the difference. A gap before a burst is booked by what that burst waited for.
#pragma once

#include <algorithm>

#include "base/observations.h"
#include "chip/hbm/timing.h"

namespace memwall::chip {

class BusAccount {
public:
    /// Everything before this clock is booked.
    [[nodiscard]] Clk until() const { return until_; }

    /// Nothing to do until `now`.
    void idle(Clk now) {
        if (now <= until_) return;
        idle_ += now - until_;
        until_ = now;
    }
    /// A first burst at `column` after a pause: it waited for the turnaround, then for refresh, then for its row.
    void resume(Clk column, Clk turned_at, Clk refreshed_at) {
        turnaround_ += take(std::min(column, turned_at));
        refresh_ += take(std::min(column, refreshed_at));
        bank_ += take(column);
    }
    /// `bursts` bursts of `length` clocks up to `end`, and the gaps of column spacing between them.
    void transfer(Clk bursts, Clk length, Clk end, bool in_refresh) {
        const Clk gaps = end - until_ - bursts * length;
        data_ += bursts * length;
        (in_refresh ? refresh_ : bank_) += gaps;
        until_ = end;
    }
    /// In picoseconds; the time up to `now` that is not booked yet is idle, or waiting for a bank.
    [[nodiscard]] HbmTime at(Ps now, double tck_ps, bool working) const {
        HbmTime time;
        time.data_ps = static_cast<double>(data_) * tck_ps;
        time.refresh_ps = static_cast<double>(refresh_) * tck_ps;
        time.bank_ps = static_cast<double>(bank_) * tck_ps;
        time.turnaround_ps = static_cast<double>(turnaround_) * tck_ps;
        time.idle_ps = static_cast<double>(idle_) * tck_ps;
        const double rest = static_cast<double>(now.count) - static_cast<double>(until_) * tck_ps;
        if (rest < 0) {
            time.data_ps += rest;  // a burst still on its way
        } else {
            (working ? time.bank_ps : time.idle_ps) += rest;
        }
        return time;
    }

private:
    Clk take(Clk end) {
        const Clk span = std::max<Clk>(0, end - until_);
        until_ += span;
        return span;
    }

    Clk until_ = 0;
    Clk data_ = 0, refresh_ = 0, bank_ = 0, turnaround_ = 0, idle_ = 0;
};

}  // namespace memwall::chip
