// HBM3 parameters with banks one by one, and a source that keeps a pseudo-channel's queue full.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "chip/hbm/pseudo_channel.h"

namespace memwall::chip::testing {

/// H100's 5.238 Gb/s, the timings of Ramulator 2.1's HBM3_6400Mbps preset with their nanoseconds kept, and the queue of
/// the cycle-level simulators. What configs/devices/h100-sxm5.json infers beyond them (gangs, a queue of 32 and
/// whole-chip traffic for it) is held against silicon in tests/property/physics_test.cpp.
inline device::HbmParams h100_hbm() {
    device::HbmParams p{};
    p.standard = "HBM3";
    p.stacks = 5, p.channels_per_stack = 16, p.pseudo_channels_per_channel = 2;
    p.sids = 2, p.bank_groups = 4, p.banks_per_group = 4, p.rows = 16384;
    p.page_bytes = 1024, p.burst_bytes = 32, p.pseudo_channel_interleave_bytes = 512;
    p.data_rate_gbps = 5.238, p.transfers_per_clock = 4, p.pseudo_channel_bits = 32;
    p.tcl_ns = 12.5, p.tcwl_ns = 6.25, p.trcdrd_ns = 19.375, p.trcdwr_ns = 9.375, p.trp_ns = 16.25;
    p.tras_ns = 28.125, p.trc_ns = 45, p.twr_ns = 20.625, p.trtp_ns = 5.625;
    p.nbl = 2, p.nccds = 2, p.nccdl = 4, p.nccdr = 3;
    p.trrds_ns = 2.5, p.trrdl_ns = 3.125, p.tfaw_ns = 15, p.twtrs_ns = 4.375, p.twtrl_ns = 6.25, p.trtw_ns = 12.5;
    p.refresh = "per_bank", p.trefi_ns = 3900, p.trfcpb_ns = 200, p.trfcab_ns = 350, p.refresh_postpone_max = 8;
    p.controller_ns = 10;
    p.read_queue_entries = 64, p.write_queue_entries = 64, p.write_high_watermark = 48, p.write_low_watermark = 16;
    p.write_idle_drain_ns = 100;
    p.page_policy = "open", p.bank_map = "hashed";
    return p;
}

/// The same without what disturbs exact clocks.
inline device::HbmParams bare_hbm() {
    device::HbmParams p = h100_hbm();
    p.refresh = "none", p.controller_ns = 0, p.bank_map = "linear";
    return p;
}

/// A piece of a workload; the address is inside the pseudo-channel.
struct Piece {
    std::uint64_t address;
    std::uint32_t bytes;
    bool write = false;
};
using Workload = std::function<Piece()>;

struct Result {
    double fraction = 0;      ///< of peak
    double row_hit = 0;       ///< of bursts
    double per_activate = 0;  ///< bytes
    double mean_read_ns = 0;
    HbmTime time;  ///< as shares of the elapsed time
    std::uint64_t refreshes = 0;
};

/// Feeds `bytes` of the workload, in order, as long as the queues have room, and reports what the channel achieved.
/// Reads and writes have queues of their own; the next piece waits for its own.
class SaturatingSource {
public:
    explicit SaturatingSource(const device::HbmParams& params, std::uint32_t seed = 1)
        : params_(params), channel_(params, seed), free_{params.read_queue_entries, params.write_queue_entries} {}

    Result run(const Workload& workload, std::uint64_t bytes) {
        std::uint64_t given = 0;
        cut(workload(), given);
        while (given < bytes || !done_all()) {
            free_credits();
            while (given < bytes && fits()) {
                push();
                if (next_run_ == runs_.size()) cut(workload(), given);
            }
            now_ += Ps{3000};
            done_.clear();
            channel_.advance(now_, done_);
            for (const auto& d : done_) complete(d);
        }
        return report();
    }

private:
    struct Run {
        std::uint32_t page;
        std::uint16_t first, bursts;
        bool write;
    };
    struct Credit {
        Ps at;
        int entries;
        bool write;
        bool operator>(const Credit& o) const { return at > o.at; }
    };

    /// Pages and entries of 64 bytes: a piece becomes runs of up to 512 bytes inside a page, as the chip sends them.
    void cut(Piece piece, std::uint64_t& given) {
        runs_.clear();
        next_run_ = 0;
        given += piece.bytes;
        while (piece.bytes > 0) {
            const auto page_bytes = static_cast<std::uint64_t>(params_.gang_page_bytes());
            const std::uint64_t offset = piece.address % page_bytes;
            const std::uint64_t take = std::min<std::uint64_t>({piece.bytes, 512 - offset % 512, page_bytes - offset});
            const auto burst = static_cast<std::uint64_t>(params_.burst_bytes);
            runs_.push_back({static_cast<std::uint32_t>(piece.address / page_bytes),
                             static_cast<std::uint16_t>(offset / burst), static_cast<std::uint16_t>(take / burst),
                             piece.write});
            piece.address += take;
            piece.bytes -= static_cast<std::uint32_t>(take);
        }
    }
    [[nodiscard]] int entries(int bursts) const { return (bursts * params_.burst_bytes + 63) / 64; }
    [[nodiscard]] bool fits() const { return entries(runs_[next_run_].bursts) <= free_[runs_[next_run_].write]; }
    [[nodiscard]] bool done_all() const { return completed_ == tags_.size(); }
    void push() {
        const Run& r = runs_[next_run_++];
        free_[r.write] -= entries(r.bursts);
        channel_.push({static_cast<std::uint32_t>(tags_.size()), r.page, r.first, r.bursts, r.write, now_});
        tags_.push_back({now_, r.bursts});
    }
    void complete(const DramCompletion& d) {
        const auto& [pushed, bursts] = tags_[d.tag];
        credits_.push({d.at, entries(bursts), d.write});
        end_ = std::max(end_, d.at);
        if (!d.write) latency_ns_ += (d.at - pushed).ns(), ++reads_;
        ++completed_;
    }
    void free_credits() {
        while (!credits_.empty() && credits_.top().at <= now_) {
            free_[credits_.top().write] += credits_.top().entries;
            credits_.pop();
        }
    }
    [[nodiscard]] Result report() const {
        ChannelObservation seen{};
        channel_.observe(end_, seen);
        Result r;
        const auto bytes = static_cast<double>(seen.read_bytes + seen.write_bytes);
        const auto elapsed = static_cast<double>(end_.count);
        r.fraction = bytes / (params_.pseudo_channel_gbps() * elapsed * 1e-3);
        r.row_hit = static_cast<double>(seen.row_hits) / (bytes / params_.burst_bytes);
        r.per_activate = bytes / static_cast<double>(seen.activates);
        r.mean_read_ns = reads_ > 0 ? latency_ns_ / static_cast<double>(reads_) : 0;
        r.time = {seen.time.data_ps / elapsed, seen.time.refresh_ps / elapsed, seen.time.bank_ps / elapsed,
                  seen.time.turnaround_ps / elapsed, seen.time.idle_ps / elapsed};
        r.refreshes = seen.refreshes;
        return r;
    }

    device::HbmParams params_;
    PseudoChannel channel_;
    int free_[2];
    std::priority_queue<Credit, std::vector<Credit>, std::greater<>> credits_;
    std::vector<std::pair<Ps, std::uint16_t>> tags_;
    std::vector<Run> runs_;
    std::size_t next_run_ = 0, completed_ = 0;
    std::vector<DramCompletion> done_;
    Ps now_{0}, end_{0};
    double latency_ns_ = 0;
    std::uint64_t reads_ = 0;
};

inline constexpr std::uint64_t kChannelBytes = 512ULL << 20;  // 32 banks * 16384 rows * 1 KiB

/// Draws whether a piece is a write, in the given share.
class WriteShare {
public:
    explicit WriteShare(double share) : share_(share) {}
    bool operator()() { return std::uniform_real_distribution<>(0, 1)(random_) < share_; }

private:
    double share_;
    std::mt19937_64 random_{7};
};

inline Workload sequential(std::uint32_t piece = 512, double writes = 0) {
    return [=, at = std::uint64_t{0}, write = WriteShare(writes)]() mutable {
        const Piece p{at % kChannelBytes, piece, write()};
        at += piece;
        return p;
    };
}
/// Chunk-aligned random pieces.
inline Workload random_chunks(std::uint32_t chunk, double writes = 0) {
    return [=, random = std::mt19937_64{11}, write = WriteShare(writes)]() mutable {
        return Piece{random() % (kChannelBytes / chunk) * chunk, chunk, write()};
    };
}
/// `count` sequential streams taken round robin in pieces of `piece`; `writers` of them, spread evenly, write.
inline Workload streams(int count, std::uint32_t piece, int writers = 0) {
    std::vector<std::uint64_t> at;
    std::mt19937_64 random{13};
    for (int i = 0; i < count; ++i) at.push_back(random() % (kChannelBytes / 4096) * 4096);
    return [=, i = 0]() mutable {
        const int stream = i++ % count;
        std::uint64_t& address = at[static_cast<std::size_t>(stream)];
        const Piece p{address % kChannelBytes, piece, stream * writers / count != (stream + 1) * writers / count};
        address += piece;
        return p;
    };
}

}  // namespace memwall::chip::testing
