// HBM timing in integer command clocks, and the address map of one pseudo-channel.
//
// The device description gives nanoseconds (kept when the data rate changes, rounded up to command clocks as JESD238
// prescribes for asynchronous timings) and, for spacings of bursts, command clocks. Everything here is a delay from one
// command to another, so the engine adds and compares and never rounds.
//
//   before   after        scope            clocks
//   ACT      RD / WR      bank             rcd[read] / rcd[write]
//   ACT      PRE          bank             ras
//   ACT      ACT          bank             rc
//   ACT      ACT          bank group       rrdl
//   ACT      ACT          pseudo-channel   rrds; the fifth ACT not before faw after the first
//   PRE      ACT, REF     bank             rp
//   RD       PRE          bank             rtp
//   WR       PRE          bank             cwl + bl + wr
//   RD, WR   the same     bank group       ccdl
//   RD, WR   the same     SID              ccds (never less than bl, the burst itself)
//   RD, WR   the same     pseudo-channel   ccdr
//   RD       WR           pseudo-channel   rtw
//   WR       RD           bank group       cwl + bl + wtrl
//   WR       RD           pseudo-channel   cwl + bl + wtrs
//   REF      ACT          bank (or all)    rfcpb (or rfcab)
//
// Where a run's bursts alternate between banks of several groups (`run_bank_groups`), these banks are a gang: each gets
// its own ACT, PRE and REF, rrds after the one before, and the bursts follow one another at ccdl over their number. In
// everything else a gang is a bank whose page is as long as those of its banks together, and "bank" means a gang below.
//
// Sources: the rules are those of Ramulator 2.1's HBM3 standard (its reading of JESD238); the values are the device's.
// Not modelled: the row command bus (ACT takes 1.5 clocks, PRE and REF half a clock: rrds is longer than that), tPPD,
// tRREFD (a few ns by which the REFs of a gang should be further apart).
#pragma once

#include <cstdint>

#include "base/units.h"
#include "device/device.h"

namespace memwall::chip {

/// Command clocks since the start of the run.
using Clk = std::int64_t;
inline constexpr Clk kNeverClk = INT64_MAX / 4;

/// Direction of a column command, and of all queues and tables that exist once for each.
enum Direction : std::uint8_t { kRead, kWrite };

struct HbmTiming {
    /// Clocks by which rounding may miss an edge: far above that of a double in a run of hours, far below a picosecond.
    static constexpr double kSlack = 1e-6;

    explicit HbmTiming(const device::HbmParams& params);

    double tck_ps;  ///< command clock
    double clocks_per_ps;
    Clk bl;                   ///< the burst on the data bus
    Clk rcd[2], rp, ras, rc;  ///< rcd by direction
    Clk ccds, ccdl, ccdr;
    Clk rrds, rrdl, faw;
    Clk column_to_precharge[2];  ///< rtp; cwl + bl + wr
    Clk column_to_data_end[2];   ///< cl + bl; cwl + bl
    Clk read_to_write;           ///< rtw
    Clk write_to_read_s, write_to_read_l;
    Clk rfcpb, rfcab;
    double refi;  ///< fractional: due times are multiples of it
    double controller_ps;
    int lanes;        ///< runs in different bank groups that fill the column bus together: ccdl / ccds
    Clk pitch;        ///< between two bursts of one run: lanes * ccds, which is ccdl where that divides
    int gang;         ///< banks that open together; 1: each by itself
    Clk gang_spread;  ///< from the first command to a gang's banks to the last

    /// First clock edge at or after `ps`; a hair above an edge still is that edge.
    [[nodiscard]] Clk edge_at(double ps) const {
        const double clocks = ps * clocks_per_ps - kSlack;
        const auto below = static_cast<Clk>(clocks);
        return below + (clocks > static_cast<double>(below) ? 1 : 0);
    }
    /// The picosecond of a clock edge: clock < edge_at(u) exactly if ps(clock) < u.
    [[nodiscard]] Ps ps(Clk clock) const {
        return {static_cast<std::int64_t>((static_cast<double>(clock) + kSlack) * tck_ps)};
    }
};

/// Where a page lies. Banks are numbered sid, bank group, bank; `group` numbers the bank groups of all SIDs.
struct BankPlace {
    int bank;
    std::int32_t row;
};

/// Consecutive pages go to the bank groups first (so that a stream fills the column bus), then to banks, SIDs and rows.
/// "hashed" XORs row bits into bank group and bank, so that streams of equal alignment part ways. Gangs are numbered
/// like banks, their groups like bank groups.
class BankMap {
public:
    explicit BankMap(const device::HbmParams& params);
    [[nodiscard]] BankPlace place(std::uint32_t page) const;
    [[nodiscard]] int banks() const { return static_cast<int>(groups_ * banks_ * sids_); }
    [[nodiscard]] int groups() const { return static_cast<int>(groups_ * sids_); }
    [[nodiscard]] int group_of(int bank) const { return bank >> bank_shift_; }
    [[nodiscard]] int sid_of(int bank) const { return bank >> (bank_shift_ + group_shift_); }

private:
    std::uint32_t groups_, banks_, sids_;
    int group_shift_, bank_shift_;
    int sid_shift_;  // -1: not a power of two
    bool hashed_;
};

}  // namespace memwall::chip
