#include "chip/hbm/timing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "base/error.h"

namespace memwall::chip {
namespace {

/// A hair below an integer still is that integer: 45 ns * 1.6 GHz.
Clk round_up(double clocks) {
    return static_cast<Clk>(std::ceil(clocks - 1e-6));
}

}  // namespace

HbmTiming::HbmTiming(const device::HbmParams& p) {
    const double mhz = p.command_mhz();
    const auto clocks = [mhz](double ns) { return round_up(ns * mhz * 1e-3); };
    tck_ps = 1e6 / mhz;
    clocks_per_ps = mhz * 1e-6;
    bl = p.nbl;
    rcd[kRead] = clocks(p.trcdrd_ns);
    rcd[kWrite] = clocks(p.trcdwr_ns);
    rp = clocks(p.trp_ns);
    ras = clocks(p.tras_ns);
    rc = std::max(clocks(p.trc_ns), ras + rp);
    ccds = std::max(p.nccds, p.nbl);
    ccdl = std::max<Clk>(p.run_pitch(), ccds);
    ccdr = std::max<Clk>(p.nccdr, ccds);
    rrds = clocks(p.trrds_ns);
    rrdl = clocks(p.trrdl_ns);
    faw = clocks(p.tfaw_ns);
    const Clk cwl = clocks(p.tcwl_ns);
    column_to_precharge[kRead] = clocks(p.trtp_ns);
    column_to_precharge[kWrite] = cwl + bl + clocks(p.twr_ns);
    column_to_data_end[kRead] = clocks(p.tcl_ns) + bl;
    column_to_data_end[kWrite] = cwl + bl;
    read_to_write = clocks(p.trtw_ns);
    write_to_read_s = cwl + bl + clocks(p.twtrs_ns);
    write_to_read_l = cwl + bl + clocks(p.twtrl_ns);
    rfcpb = clocks(p.trfcpb_ns);
    rfcab = clocks(p.trfcab_ns);
    refi = p.trefi_ns * mhz * 1e-3;
    controller_ps = p.controller_ns * 1e3;
    lanes = static_cast<int>((ccdl + ccds - 1) / ccds);
    pitch = lanes * ccds;
    gang = p.run_bank_groups;
    gang_spread = (gang - 1) * rrds;
}

BankMap::BankMap(const device::HbmParams& p)
    : groups_(static_cast<std::uint32_t>(p.bank_groups / p.run_bank_groups)),
      banks_(static_cast<std::uint32_t>(p.banks_per_group)),
      sids_(static_cast<std::uint32_t>(p.sids)),
      group_shift_(std::countr_zero(groups_)),
      bank_shift_(std::countr_zero(banks_)),
      sid_shift_(std::has_single_bit(sids_) ? std::countr_zero(sids_) : -1),
      hashed_(p.bank_map == "hashed") {
    if (!std::has_single_bit(groups_) || !std::has_single_bit(banks_) || banks() > 64) {
        throw InputError("/hbm/bank_groups, /hbm/banks_per_group, /hbm/sids", std::to_string(banks()) + " banks",
                         "powers of two in a SID, up to 64 banks of a pseudo-channel (or gangs of them)");
    }
}

BankPlace BankMap::place(std::uint32_t page) const {
    std::uint32_t group = page & (groups_ - 1);
    page >>= group_shift_;
    std::uint32_t bank = page & (banks_ - 1);
    page >>= bank_shift_;
    const std::uint32_t row = sid_shift_ >= 0 ? page >> sid_shift_ : page / sids_;
    const std::uint32_t sid = page - row * sids_;
    if (hashed_) {
        // Two folds of the row, by different multipliers, so that neither equals the other for a power-of-two stride.
        group ^= (row * 0x9E3779B1U) >> 28 & (groups_ - 1);
        bank ^= (row * 0x85EBCA77U) >> 27 & (banks_ - 1);
    }
    return {static_cast<int>((sid * groups_ + group) * banks_ + bank), static_cast<std::int32_t>(row)};
}

}  // namespace memwall::chip
