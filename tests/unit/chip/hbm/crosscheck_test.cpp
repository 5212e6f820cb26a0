// A saturated pseudo-channel against closed forms, against cycle-level DRAM simulators, and against H100.
//
// Simulators: Ramulator 2.1 (commit c5b1c3a), DRAMsim3 (2981759), HBM3 at 5.2 Gb/s with the same nanoseconds, reads,
// refresh of all banks every 3.9 us for 350 ns. "R" is Ramulator with 64 entries and a hashed map, "D" DRAMsim3 with
// pages contiguous and queues per bank, which is nearest to ours. Fractions are of peak.
#include <gtest/gtest.h>

#include "hbm_fixture.h"

namespace memwall::chip::testing {
namespace {

using device::HbmParams;

constexpr std::uint64_t kBytes = 4 << 20;

double fraction(const HbmParams& p, const Workload& w) {
    return SaturatingSource(p).run(w, kBytes).fraction;
}

HbmParams with_refresh(const char* kind) {
    HbmParams p = h100_hbm();
    p.controller_ns = 0;  // the simulators have none
    p.refresh = kind;
    return p;
}

// ---- Closed forms

TEST(HbmClosedForm, WithoutRefreshAStreamFillsTheBus) {
    EXPECT_GT(fraction(with_refresh("none"), sequential()), 0.99);  // R 0.999
}

TEST(HbmClosedForm, RefreshOfAllBanksLeavesItsShare) {
    // 1 - tRFC / tREFI = 1 - 350 / 3900 = 0.910; draining and opening rows again costs about 1.5 points more
    // (R 0.871, D 0.898).
    const double f = fraction(with_refresh("all_bank"), sequential());
    EXPECT_LT(f, 0.910);
    EXPECT_GT(f, 0.885);
}

TEST(HbmClosedForm, ActivatesLimitSmallRandomReads) {
    // Four ACT per tFAW = 20 clocks; a burst lasts 2: 4 * 2 bursts * 2 / 20 = 0.80 for 64 bytes, half for 32.
    EXPECT_NEAR(fraction(with_refresh("none"), random_chunks(64)), 0.80, 0.005);
    EXPECT_NEAR(fraction(with_refresh("none"), random_chunks(32)), 0.40, 0.005);
    // Times 0.91 with refresh of all banks: 0.73 (D 0.716, R 0.652) and 0.364 (D 0.358).
    EXPECT_NEAR(fraction(with_refresh("all_bank"), random_chunks(64)), 0.72, 0.015);
    EXPECT_NEAR(fraction(with_refresh("all_bank"), random_chunks(32)), 0.36, 0.01);
}

TEST(HbmClosedForm, GangsOfTwoNeedTwiceTheBytesForEachActivate) {
    // A gang takes two of the four ACT: 2 * 4 bursts * 2 / 20 = 0.80 for 128 bytes, half for 64.
    HbmParams p = with_refresh("none");
    p.run_bank_groups = 2;
    EXPECT_NEAR(fraction(p, random_chunks(128)), 0.80, 0.01);
    EXPECT_NEAR(fraction(p, random_chunks(64)), 0.40, 0.005);
    EXPECT_GT(fraction(p, sequential()), 0.99);
}

TEST(HbmClosedForm, OneBankGroupUsesEverySecondSlot) {
    // nBL / nCCDL = 0.50.
    HbmParams p = with_refresh("none");
    p.bank_groups = 1, p.banks_per_group = 16, p.sids = 1, p.rows = 32768;
    EXPECT_NEAR(fraction(p, sequential()), 0.50, 0.005);
    p.nccdl = 2;
    EXPECT_GT(fraction(p, sequential()), 0.99);
}

TEST(HbmClosedForm, OneBankCyclesAtRowCycleTime) {
    // One row of 64 bytes: tRCD + tCCD_L + tRTP + tRP = 26 + 4 + 8 + 22 = 60 clocks, tRC = 59 being over; then tRC.
    HbmParams p = with_refresh("none");
    p.bank_groups = p.banks_per_group = p.sids = 1, p.rows = 524288;
    EXPECT_NEAR(fraction(p, random_chunks(64)), 4.0 / 60, 0.0005);
    p.trc_ns *= 2;
    EXPECT_NEAR(fraction(p, random_chunks(64)), 4.0 / 118, 0.0005);
}

// ---- Shape against cycle-level simulators

TEST(HbmAgainstSimulators, ChunkSizeOfRandomReads) {
    // bytes:                     64    128    256    512   1024   4096
    // D                       0.716  0.882  0.881  0.869  0.799  0.847
    // R                       0.652  0.675  0.751  0.771  0.768  0.836
    // Queue entries are 64 bytes: from 512 bytes on few chunks are in sight, and bank groups collide.
    const HbmParams p = with_refresh("all_bank");
    const double expected[][2] = {{64, 0.716}, {128, 0.882}, {256, 0.881}, {512, 0.869}, {1024, 0.799}, {4096, 0.847}};
    for (const auto& [bytes, d] : expected) {
        const Result r = SaturatingSource(p).run(random_chunks(static_cast<std::uint32_t>(bytes)), kBytes);
        EXPECT_NEAR(r.fraction, d, 0.05) << bytes;
    }
    EXPECT_LT(fraction(p, random_chunks(32)), fraction(p, random_chunks(64)));
    EXPECT_LT(fraction(p, random_chunks(64)), fraction(p, random_chunks(128)));
    EXPECT_GT(fraction(p, random_chunks(256)), fraction(p, random_chunks(1024)));
    EXPECT_LT(fraction(p, random_chunks(1024)), fraction(p, random_chunks(4096)));
}

TEST(HbmAgainstSimulators, RowHits) {
    // D, by burst: rand 64 0.50, 128 0.748, 256 0.872, 512 0.936, 1024 0.967; sequential 0.984. One miss per chunk and
    // page: 1 - 32 / min(chunk, 1024).
    const HbmParams p = with_refresh("all_bank");
    const double expected[][2] = {{64, 0.50}, {128, 0.748}, {256, 0.872}, {512, 0.936}, {1024, 0.967}};
    for (const auto& [bytes, hits] : expected) {
        const Result r = SaturatingSource(p).run(random_chunks(static_cast<std::uint32_t>(bytes)), kBytes);
        EXPECT_NEAR(r.row_hit, hits, 0.01) << bytes;
    }
    EXPECT_NEAR(SaturatingSource(p).run(sequential(64), kBytes).row_hit, 0.967, 0.01);
}

TEST(HbmAgainstSimulators, QueueDepth) {
    // entries:       8     16     32     64    128
    // R seq      0.666  0.781  0.833  0.871  0.871
    // R rand 64  0.192  0.325  0.504  0.652  0.687   (both pseudo-channels of a channel share its 64; ours are per one)
    // D rand 64         0.712 (4 per bank)    0.716
    // R rand 256 0.202  0.333  0.529  0.751  0.851
    HbmParams p = with_refresh("all_bank");
    double last[3] = {0, 0, 0};
    for (const int entries : {8, 16, 32, 64, 128}) {
        p.read_queue_entries = entries;
        const double now[3] = {fraction(p, sequential(64)), fraction(p, random_chunks(64)),
                               fraction(p, random_chunks(256))};
        for (int i = 0; i < 3; ++i) {
            EXPECT_GE(now[i], last[i] - 0.003) << entries << ' ' << i;
            last[i] = now[i];
        }
        // Half the depth for one pseudo-channel: R at twice the entries.
        if (entries == 8) {
            EXPECT_NEAR(now[1], 0.325, 0.06);
        }
        if (entries == 16) {
            EXPECT_NEAR(now[1], 0.504, 0.12);
        }
        if (entries == 8) {
            EXPECT_NEAR(now[2], 0.333, 0.06);
        }
        if (entries == 16) {
            EXPECT_NEAR(now[2], 0.529, 0.06);
        }
        if (entries == 64) {
            EXPECT_NEAR(now[2], 0.851, 0.05);
        }
    }
}

TEST(HbmAgainstSimulators, StreamsLoseRowHits) {
    // k x 128:        8     16     32     64    128
    // R fraction  0.813  0.802  0.734  0.694  0.679;  D 0.675, -, 0.837, -, 0.848
    // R row hits   0.82   0.71   0.59   0.53   0.50;  D 0.926, -, 0.835, -, 0.752
    const HbmParams p = with_refresh("all_bank");
    double last = 1;
    for (const int k : {8, 16, 32, 64, 128}) {
        const Result r = SaturatingSource(p).run(streams(k, 128), kBytes);
        EXPECT_LE(r.row_hit, last) << k;
        last = r.row_hit;
        EXPECT_GT(r.fraction, 0.82) << k;
        EXPECT_LT(r.fraction, 0.91) << k;
        if (k == 128) {
            EXPECT_NEAR(r.row_hit, 0.752, 0.01);
        }
    }
    EXPECT_LT(fraction(p, streams(128, 64)), fraction(p, streams(8, 64)));
}

TEST(HbmAgainstSimulators, WritesCostTurnarounds) {
    // writes:            10 %   33 %   50 %  100 %
    // D sequential      0.874  0.843  0.841  0.893;  R 0.832 0.770 0.748 0.870
    // D rand 64         0.656  0.611  0.582  0.718;  R 0.605 0.535 0.508 0.641
    // D rand 256        0.821  0.756  0.740  0.880;  R 0.697 0.627 0.596 0.807
    const HbmParams p = with_refresh("all_bank");
    const double shares[] = {0.1, 0.33, 0.5, 1.0};
    const double d[3][4] = {{0.874, 0.843, 0.841, 0.893}, {0.656, 0.611, 0.582, 0.718}, {0.821, 0.756, 0.740, 0.880}};
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NEAR(fraction(p, sequential(64, shares[i])), d[0][i], 0.03) << shares[i];
        EXPECT_NEAR(fraction(p, random_chunks(64, shares[i])), d[1][i], 0.075) << shares[i];
        EXPECT_NEAR(fraction(p, random_chunks(256, shares[i])), d[2][i], 0.085) << shares[i];
    }
    EXPECT_GT(fraction(p, random_chunks(64, 0.1)), fraction(p, random_chunks(64, 0.33)));
    EXPECT_GT(fraction(p, random_chunks(64, 0.33)), fraction(p, random_chunks(64, 0.5)));
}

TEST(HbmAgainstSimulators, RefreshOfSingleBanksPassesBy) {
    // DRAMSys 5.1 on HBM2, queues per bank: sequential 0.972 with per-bank refresh against 0.865 with all-bank.
    // (Ramulator's 0.744 is head-of-line blocking in one queue that does not know of refresh.)
    for (const auto& w : {sequential(), random_chunks(256), random_chunks(64)}) {
        const double none = fraction(with_refresh("none"), w);
        const double per_bank = fraction(with_refresh("per_bank"), w);
        const double all_bank = fraction(with_refresh("all_bank"), w);
        EXPECT_GE(none, per_bank);
        EXPECT_GT(per_bank, none - 0.03);
        EXPECT_GT(per_bank, all_bank + 0.05);
    }
}

TEST(HbmAgainstSimulators, RefreshOfSingleBanksIsDoneInFull) {
    const HbmParams p = with_refresh("per_bank");
    const Result r = SaturatingSource(p).run(random_chunks(64), kBytes);
    const double elapsed_ns = static_cast<double>(kBytes) / (p.pseudo_channel_gbps() * r.fraction);
    EXPECT_NEAR(static_cast<double>(r.refreshes), elapsed_ns / (3900.0 / 32), 10);
}

TEST(HbmAgainstSimulators, ClosedPagesLoseAStreamsHits) {
    // R, closed after one access: sequential 0.291, rand 64 0.579 (0.652 open). Ours closes a page when no request for
    // it is in the queue, so a queue keeps its hits and a lone reader does not.
    HbmParams open = with_refresh("none"), closed = open;
    closed.page_policy = "closed";
    for (HbmParams* p : {&open, &closed}) p->read_queue_entries = 1;
    EXPECT_LT(fraction(closed, sequential(64)), fraction(open, sequential(64)));
}

// ---- Silicon: H100 SXM5, 3352 GB/s. 132 streams in 512-byte runs, the queues and refresh of the default description.

TEST(HbmAgainstH100, ReadOnly) {
    // 0.949 (BabelStream dot), 0.953-0.967 (integer reduction).
    EXPECT_NEAR(fraction(h100_hbm(), streams(132, 512)), 0.955, 0.015);
}

TEST(HbmAgainstH100, Copy) {
    // 0.865 (BabelStream copy), 0.866 (device-to-device copy), 0.894-0.903 (tensor clone).
    EXPECT_NEAR(fraction(h100_hbm(), streams(132, 512, 66)), 0.88, 0.025);
}

TEST(HbmAgainstH100, AThirdWrites) {
    // 0.886 (BabelStream add, triad), 0.90 (triad, H100 PCIe), 0.93 upper end.
    EXPECT_NEAR(fraction(h100_hbm(), streams(132, 512, 44)), 0.895, 0.035);
}

TEST(HbmAgainstH100, StoresOnly) {
    // 0.985-0.99 (store-only, H100 PCIe and GH200).
    EXPECT_NEAR(fraction(h100_hbm(), streams(132, 512, 132)), 0.98, 0.02);
}

TEST(HbmAgainstH100, BecauseOfItsMechanisms) {
    const Workload reads = streams(132, 512), copy = streams(132, 512, 66);
    const HbmParams p = h100_hbm();
    const double base = fraction(p, reads);
    const auto changed = [&p](auto change) {
        HbmParams other = p;
        change(other);
        return other;
    };
    EXPECT_GT(fraction(changed([](HbmParams& o) { o.refresh = "none"; }), reads), base + 0.003);
    EXPECT_LT(fraction(changed([](HbmParams& o) { o.refresh = "all_bank"; }), reads), base - 0.05);
    EXPECT_LT(fraction(changed([](HbmParams& o) { o.trfcpb_ns *= 3; }), reads), base);
    EXPECT_LT(fraction(changed([](HbmParams& o) { o.bank_groups = 1, o.banks_per_group = 16; }), reads), 0.52);
    EXPECT_LT(fraction(changed([](HbmParams& o) { o.trc_ns *= 4; }), reads), base - 0.005);
    EXPECT_LT(fraction(changed([](HbmParams& o) { o.read_queue_entries = 32; }), reads), base - 0.1);
    EXPECT_LT(fraction(changed([](HbmParams& o) { o.trtw_ns *= 2, o.twtrs_ns *= 3, o.twtrl_ns *= 3; }), copy),
              fraction(p, copy) - 0.02);
}

TEST(HbmAgainstH100, BoundTimesAreNamed) {
    const Result copy = SaturatingSource(h100_hbm()).run(streams(132, 512, 66), kBytes);
    EXPECT_GT(copy.time.turnaround_ps, 0.03);
    const Result random = SaturatingSource(h100_hbm()).run(random_chunks(64), kBytes);
    EXPECT_NEAR(random.time.bank_ps, 0.20, 0.02);
    HbmParams all_bank = h100_hbm();
    all_bank.refresh = "all_bank";
    EXPECT_NEAR(SaturatingSource(all_bank).run(sequential(), kBytes).time.refresh_ps, 0.095, 0.015);
}

}  // namespace
}  // namespace memwall::chip::testing
