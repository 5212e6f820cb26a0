// Exact: single commands at the clock where the timing table puts them, and laws that hold under any traffic.
#include "chip/hbm/pseudo_channel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "hbm_fixture.h"

namespace memwall::chip {
namespace {

using device::HbmParams;
using testing::bare_hbm;
using testing::h100_hbm;

// H100 SXM5 at 1309.5 MHz, the nanoseconds rounded up to clocks.
constexpr int kBl = 2, kCl = 17, kCwl = 9, kRcdRd = 26, kRcdWr = 13, kRp = 22, kRas = 37, kRc = 59, kWr = 28, kRtp = 8;
constexpr int kCcdS = 2, kCcdL = 4, kCcdR = 3, kRrdS = 4, kFaw = 20, kWtrS = 6, kWtrL = 9, kRtw = 17, kRfcPb = 262;

/// Pages of the linear map: bank group, bank, SID, row from the low bits up (4 x 4 x 2).
std::uint32_t page(int group, int bank, int sid = 0, int row = 0) {
    return static_cast<std::uint32_t>(((row * 2 + sid) * 4 + bank) * 4 + group);
}

/// A channel that answers in clocks.
class Bench {
public:
    explicit Bench(const HbmParams& params = bare_hbm()) : timing_(params), channel_(params, 0) {}

    void read(std::uint32_t tag, std::uint32_t at_page, int bursts = 1, Clk at = 0, int first = 0) {
        push(tag, at_page, bursts, at, first, false);
    }
    void write(std::uint32_t tag, std::uint32_t at_page, int bursts = 1, Clk at = 0, int first = 0) {
        push(tag, at_page, bursts, at, first, true);
    }
    /// Runs to the end; completion in clocks by tag.
    std::map<std::uint32_t, Clk> finish() {
        channel_.advance(from_ns(1e6), done_);
        std::map<std::uint32_t, Clk> at;
        for (const auto& d : done_)
            at[d.tag] = static_cast<Clk>(std::llround(static_cast<double>(d.at.count) / timing_.tck_ps));
        return at;
    }
    PseudoChannel& channel() { return channel_; }
    ChannelObservation seen(Ps now = from_ns(1e6)) {
        ChannelObservation out{};
        channel_.observe(now, out);
        return out;
    }

private:
    void push(std::uint32_t tag, std::uint32_t at_page, int bursts, Clk at, int first, bool write) {
        channel_.push({tag, at_page, static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(bursts), write,
                       timing_.ps(at)});
    }
    HbmTiming timing_;
    PseudoChannel channel_;
    std::vector<DramCompletion> done_;
};

TEST(HbmTimingTest, RoundsNanosecondsUpToCommandClocks) {
    const HbmTiming t(h100_hbm());
    EXPECT_NEAR(t.tck_ps, 763.65, 0.01);
    EXPECT_EQ(t.rcd[kRead], kRcdRd);
    EXPECT_EQ(t.rcd[kWrite], kRcdWr);
    EXPECT_EQ(t.rp, kRp);
    EXPECT_EQ(t.ras, kRas);
    EXPECT_EQ(t.rc, kRc);
    EXPECT_EQ(t.faw, kFaw);
    EXPECT_EQ(t.rfcpb, kRfcPb);
    EXPECT_EQ(t.read_to_write, kRtw);
    EXPECT_EQ(t.write_to_read_s, kCwl + kBl + kWtrS);
    EXPECT_EQ(t.lanes, 2);
    // 6.4 Gb/s: the preset's own clocks, though 45 ns * 1.6 GHz is not exact in binary.
    HbmParams fast = h100_hbm();
    fast.data_rate_gbps = 6.4;
    EXPECT_EQ(HbmTiming(fast).rc, 72);
    EXPECT_EQ(HbmTiming(fast).faw, 24);
}

/// Runs alternate between the banks of gangs of two.
HbmParams ganged_hbm() {
    HbmParams p = bare_hbm();
    p.run_bank_groups = 2;
    return p;
}

/// Pages of its linear map: gang group, gang, SID, row from the low bits up (2 x 4 x 2).
std::uint32_t gang_page(int group, int gang, int sid = 0, int row = 0) {
    return static_cast<std::uint32_t>(((row * 2 + sid) * 4 + gang) * 2 + group);
}

// Alternating between two groups, a run's bursts are tCCD_S apart and it fills the bus alone; it needs both rows.
TEST(HbmTimingTest, ARunThatAlternatesBetweenGroupsIsTwiceAsFast) {
    const HbmTiming t(ganged_hbm());
    EXPECT_EQ(t.lanes, 1);
    EXPECT_EQ(t.pitch, kCcdS);
    Bench alternating(ganged_hbm()), staying;
    alternating.read(1, gang_page(0, 0), 32);
    EXPECT_EQ(alternating.finish()[1], kRrdS + kRcdRd + kCl + kBl + 31 * kCcdS);
    staying.read(1, page(0, 0), 32);
    EXPECT_EQ(staying.finish()[1], kRcdRd + kCl + kBl + 31 * kCcdL);
}

TEST(BankMapTest, ConsecutivePagesRotateGroupBankSidRow) {
    const BankMap map(bare_hbm());
    EXPECT_EQ(map.group_of(map.place(page(3, 2)).bank), 3);
    EXPECT_EQ(map.place(page(3, 2)).bank % 4, 2);
    EXPECT_EQ(map.sid_of(map.place(page(3, 2, 1)).bank), 1);
    EXPECT_EQ(map.place(page(3, 2, 1, 77)).row, 77);
    // The hash permutes the banks of a SID for each row: nothing collides.
    const BankMap hashed(h100_hbm());
    for (int row = 0; row < 64; ++row) {
        std::uint64_t seen = 0;
        for (std::uint32_t p = 0; p < 32; ++p)
            seen |= 1ULL << hashed.place(static_cast<std::uint32_t>(row) * 32 + p).bank;
        EXPECT_EQ(seen, 0xFFFFFFFFULL);
    }
}

TEST(PseudoChannelTest, ReadOfAClosedBank) {
    Bench bench;
    bench.read(1, page(0, 0));
    EXPECT_EQ(bench.finish()[1], kRcdRd + kCl + kBl);
    EXPECT_EQ(bench.seen().row_misses, 1U);
}

TEST(PseudoChannelTest, WriteOfAClosedBankWaitsForTheIdleDrain) {
    Bench bench;
    bench.write(1, page(0, 0));
    const Clk drain = HbmTiming(bare_hbm()).edge_at(100e3);
    EXPECT_EQ(bench.finish()[1], drain + kRcdWr + kCwl + kBl);
}

TEST(PseudoChannelTest, ControllerTimeDelaysVisibility) {
    HbmParams p = bare_hbm();
    p.controller_ns = 10;
    Bench bench(p);
    bench.read(1, page(0, 0));
    EXPECT_EQ(bench.finish()[1], 14 + kRcdRd + kCl + kBl);  // 13.1 clocks
}

TEST(PseudoChannelTest, RowHitAndRowConflict) {
    Bench bench;
    bench.read(1, page(0, 0));
    bench.read(2, page(0, 0), 1, 500);
    bench.read(3, page(0, 0, 0, 1), 1, 1000);
    auto at = bench.finish();
    EXPECT_EQ(at[2], 500 + kCl + kBl);
    EXPECT_EQ(at[3], 1000 + kRp + kRcdRd + kCl + kBl);
    EXPECT_EQ(bench.seen().row_hits, 1U);
    EXPECT_EQ(bench.seen().row_conflicts, 1U);
}

TEST(PseudoChannelTest, ConflictBehindAFreshActivateWaitsForTheRowCycle) {
    Bench bench;
    bench.read(1, page(0, 0));
    bench.read(2, page(0, 0, 0, 1));
    EXPECT_EQ(bench.finish()[2], kRas + kRp + kRcdRd + kCl + kBl);  // the PRE at tRAS; tRAS + tRP = tRC
    static_assert(kRas + kRp == kRc && kRcdRd + kRtp < kRas);
}

TEST(PseudoChannelTest, WriteRecoveryDelaysThePrecharge) {
    Bench bench;
    const Clk start = HbmTiming(bare_hbm()).edge_at(100e3);
    bench.write(1, page(0, 0), 8);
    bench.write(2, page(0, 0, 0, 1));
    const Clk last = start + kRcdWr + 7 * kCcdL;
    EXPECT_EQ(bench.finish()[2], last + kCwl + kBl + kWr + kRp + kRcdWr + kCwl + kBl);
}

TEST(PseudoChannelTest, BurstsOfOneBankGroupKeepCcdL) {
    Bench bench;
    bench.read(1, page(0, 0), 16);
    EXPECT_EQ(bench.finish()[1], kRcdRd + 15 * kCcdL + kCl + kBl);
}

TEST(PseudoChannelTest, TwoBankGroupsInterleave) {
    Bench bench;
    bench.read(1, page(0, 0), 16);
    bench.read(2, page(1, 0), 16);
    auto at = bench.finish();
    EXPECT_EQ(at[1], kRcdRd + 15 * kCcdL + kCl + kBl);
    // Its row opens tRRD_S later, at the other lane's second burst: the slot after that is free.
    EXPECT_EQ(at[2], kRcdRd + kRrdS + kCcdS + 15 * kCcdL + kCl + kBl);
}

TEST(PseudoChannelTest, TwoBanksOfOneGroupDoNot) {
    Bench bench;
    bench.read(1, page(0, 0), 16);
    bench.read(2, page(0, 1), 16);
    EXPECT_EQ(bench.finish()[2], kRcdRd + 31 * kCcdL + kCl + kBl);
}

TEST(PseudoChannelTest, AnotherSidCostsABubble) {
    Bench bench;
    bench.read(1, page(0, 0), 16);
    bench.read(2, page(0, 0, 1), 16);
    EXPECT_EQ(bench.finish()[2], kRcdRd + 15 * kCcdL + kCcdR + 15 * kCcdL + kCl + kBl);
}

TEST(PseudoChannelTest, FifthActivateWaitsForTheWindow) {
    Bench bench;
    const std::array<std::uint32_t, 5> pages{page(0, 0), page(1, 0), page(2, 0), page(3, 0), page(0, 1)};
    for (std::uint32_t i = 0; i < 5; ++i) bench.read(i, pages[i]);
    auto at = bench.finish();
    EXPECT_EQ(at[3], 3 * kRrdS + kRcdRd + kCl + kBl);
    EXPECT_EQ(at[4], kFaw + kRcdRd + kCl + kBl);
}

TEST(BankMapTest, GangsShareOutTheBanks) {
    const BankMap map(ganged_hbm());
    EXPECT_EQ(map.banks(), 16);
    EXPECT_EQ(map.groups(), 4);  // two of each SID
    EXPECT_EQ(ganged_hbm().gang_page_bytes(), 2048);
}

TEST(PseudoChannelTest, AGangTakesTwoOfTheFourActivates) {
    Bench bench(ganged_hbm());
    for (int i = 0; i < 3; ++i) bench.read(static_cast<std::uint32_t>(i), gang_page(i % 2, i / 2));
    auto at = bench.finish();
    EXPECT_EQ(at[0], kRrdS + kRcdRd + kCl + kBl);
    EXPECT_EQ(at[1], 3 * kRrdS + kRcdRd + kCl + kBl);
    EXPECT_EQ(at[2], kFaw + kRrdS + kRcdRd + kCl + kBl);
    EXPECT_EQ(bench.seen().activates, 6U);
    EXPECT_EQ(bench.seen().row_misses, 3U);
}

// tRRD_L holds between banks of one group, of which two gangs have two pairs: both are further apart than that anyway.
TEST(PseudoChannelTest, GangsOfOneGroupFollowAsCloselyAsAnyOthers) {
    static_assert(2 * kRrdS >= 5);  // tRRD_L
    Bench bench(ganged_hbm());
    bench.read(1, gang_page(0, 0));
    bench.read(2, gang_page(0, 1));
    EXPECT_EQ(bench.finish()[2], 3 * kRrdS + kRcdRd + kCl + kBl);
}

// A batch of writes turns the bus when the rows of all its banks are open.
TEST(PseudoChannelTest, WritesOfAGangArePreparedInTime) {
    HbmParams p = ganged_hbm();
    p.write_high_watermark = 2, p.write_low_watermark = 0;
    Bench bench(p);
    bench.read(0, gang_page(0, 0), 32, 0);
    bench.write(1, gang_page(1, 0), 2, 40);
    bench.write(2, gang_page(1, 0), 2, 40, 2);  // the watermark, while the read transfers
    auto at = bench.finish();
    const Clk turn = 40 + kRp + kRrdS + kRcdWr, last_read = kRrdS + kRcdRd + (turn - kRrdS - kRcdRd - 1) / 2 * 2;
    EXPECT_EQ(at[2], last_read + kRtw + (4 - 1) * kCcdS + kCwl + kBl);
}

TEST(PseudoChannelTest, AGangHasAPageOfBothRowsAndItsOwnRowCycle) {
    Bench bench(ganged_hbm());
    bench.read(1, gang_page(0, 0), 64);  // 2 KiB, which two pages of 1 KiB hold
    bench.read(2, gang_page(0, 0, 0, 1), 1, 500);
    auto at = bench.finish();
    EXPECT_EQ(at[1], kRrdS + kRcdRd + 63 * kCcdS + kCl + kBl);
    EXPECT_EQ(at[2], 500 + kRp + kRrdS + kRcdRd + kCl + kBl);
    EXPECT_THROW(bench.read(3, gang_page(0, 0), 65), ModelError);
    Bench fresh(ganged_hbm());
    fresh.read(1, gang_page(0, 0));
    fresh.read(2, gang_page(0, 0, 0, 1));
    constexpr Clk column = kRrdS + kRcdRd;  // both rows are open
    EXPECT_EQ(fresh.finish()[2], std::max<Clk>(kRas, column + kRtp) + kRp + column + kCl + kBl);
}

TEST(PseudoChannelTest, WriteToReadTurnaroundToTheClock) {
    for (const int group : {0, 1}) {
        Bench bench;
        const Clk start = HbmTiming(bare_hbm()).edge_at(100e3);
        bench.read(0, page(group, 1), 1, 0);  // opens the later read's row and is gone
        bench.write(1, page(0, 0), 1, 200);
        const Clk write_column = 200 + kRcdWr;  // no read has waited for 131 clocks: the write goes at once
        ASSERT_LT(kRcdRd + start, 200);
        bench.read(2, page(group, 1), 1, write_column + 1);
        const Clk gap = kCwl + kBl + (group == 0 ? kWtrL : kWtrS);
        EXPECT_EQ(bench.finish()[2], write_column + gap + kCl + kBl) << group;
    }
}

TEST(PseudoChannelTest, ReadToWriteTurnaroundToTheClock) {
    HbmParams p = bare_hbm();
    p.write_high_watermark = 2, p.write_low_watermark = 0;
    Bench bench(p);
    bench.read(0, page(0, 0), 1, 0);
    bench.write(1, page(1, 0), 2, 0);
    bench.write(2, page(1, 0), 2, 60, 2);  // the watermark, while the read below transfers
    bench.read(3, page(0, 0), 32, 50);
    auto at = bench.finish();
    // Both rows: ACT 0 and, when the watermark prepares the writes at 60, ACT 60. The bus turns tRP + tRCDWR later and
    // cuts the read, whose columns are at 50 + 4 k: the last before 95 is 94.
    EXPECT_EQ(at[1], 94 + kRtw + (2 - 1) * kCcdL + kCwl + kBl);
    EXPECT_EQ(at[2], 94 + kRtw + (4 - 1) * kCcdL + kCwl + kBl);
    // 12 bursts went before the cut, 20 come after.
    EXPECT_EQ(at[3], 94 + kRtw + 3 * kCcdL + kCwl + kBl + kWtrS + 19 * kCcdL + kCl + kBl);
}

TEST(PseudoChannelTest, RefreshBlocksOnlyItsBank) {
    HbmParams p = bare_hbm();
    p.refresh = "per_bank";
    const double interval =
        HbmTiming(p).refi / 32;  // seed 0: due at 0, interval, 2 * interval ... for banks 1, 2, 3 ...
    const Clk due = static_cast<Clk>(std::ceil(3 * interval));
    Bench bench(p);
    bench.read(1, page(1, 0), 1, due + 1);  // bank 4: the fourth refresh
    bench.read(2, page(2, 2), 1, due + 1);
    auto at = bench.finish();
    EXPECT_EQ(at[1], due + kRfcPb + kRcdRd + kCl + kBl);
    EXPECT_EQ(at[2], due + 1 + kRcdRd + kCl + kBl);
}

TEST(PseudoChannelTest, AllBankRefreshBlocksAll) {
    HbmParams p = bare_hbm();
    p.refresh = "all_bank";
    const HbmTiming t(p);
    Bench bench(p);
    const Clk due = static_cast<Clk>(std::ceil(t.refi));
    bench.read(1, page(0, 0), 1, due + 1);
    bench.read(2, page(1, 3, 1), 1, due + 1);
    auto at = bench.finish();
    EXPECT_EQ(at[1], due + t.rfcab + kRcdRd + kCl + kBl);
    EXPECT_EQ(at[2], due + t.rfcab + kRrdS + kRcdRd + kCl + kBl);
}

TEST(PseudoChannelTest, BusyBankIsRefreshedAfterThePostponement) {
    HbmParams p = bare_hbm();
    p.refresh = "per_bank", p.bank_groups = 1, p.banks_per_group = 1, p.sids = 1, p.refresh_postpone_max = 2;
    p.trefi_ns = 1000;
    Bench bench(p);
    for (std::uint32_t i = 0; i < 8; ++i) bench.read(i, 0, 16, 0);  // 512 clocks each, one bank
    bench.finish();
    const auto seen = bench.seen(from_ns(500));
    EXPECT_GE(seen.refreshes, 1U);
}

TEST(PseudoChannelTest, IdleTimeIsCaughtUpInOneStep) {
    Bench bench(h100_hbm());
    bench.read(1, page(0, 0));
    bench.finish();
    const Ps late = from_ns(3e9);  // three seconds
    bench.channel().push({2, page(0, 0), 0, 1, false, late});
    std::vector<DramCompletion> done;
    bench.channel().advance(late + from_ns(1000), done);
    ASSERT_EQ(done.size(), 1U);
    EXPECT_GE((done[0].at - late).ns(), 10 + 34);
    EXPECT_LE((done[0].at - late).ns(), 10 + 36 + 200);
    EXPECT_NEAR(static_cast<double>(bench.seen(late + from_ns(1000)).refreshes), (3e9 + 1000) / 3900 * 32, 3);
}

// Every bank is refreshed as often in a gang as alone, by a command of its own; refresh of all banks is one command.
TEST(PseudoChannelTest, BanksOfAGangAreRefreshedOneByOneOrAllTogether) {
    for (const auto& [kind, commands] : {std::pair{"per_bank", 32}, {"all_bank", 1}}) {
        HbmParams p = ganged_hbm();
        p.refresh = kind;
        Bench bench(p);
        bench.read(1, gang_page(0, 0));
        bench.finish();
        EXPECT_NEAR(static_cast<double>(bench.seen(from_ns(3e6)).refreshes), 3e6 / 3900 * commands, 3) << kind;
    }
}

TEST(PseudoChannelTest, ClosedPagesLeaveNoConflict) {
    HbmParams p = bare_hbm();
    p.page_policy = "closed";
    Bench bench(p);
    bench.read(1, page(0, 0));
    bench.read(2, page(0, 0, 0, 1), 1, 500);
    EXPECT_EQ(bench.finish()[2], 500 + kRcdRd + kCl + kBl);
    EXPECT_EQ(bench.seen().row_misses, 2U);
    EXPECT_EQ(bench.seen().row_conflicts, 0U);
}

TEST(PseudoChannelTest, BeyondTheQueueRequestsWaitUnseen) {
    Bench bench;
    for (std::uint32_t i = 0; i < 4; ++i) bench.read(i, i, 32);
    EXPECT_EQ(bench.channel().queued_entries(false), 64);
    bench.read(4, 0, 1);  // a hit of the first row: the scheduler would take it early if it saw it
    bench.read(5, 1, 2);
    EXPECT_EQ(bench.channel().queued_entries(false), 64);
    auto at = bench.finish();
    EXPECT_GT(at[4], std::max(at[0], at[1]));  // lanes of two: the first run's end makes room, the slot is the other's
    EXPECT_EQ(at.size(), 6U);
    EXPECT_EQ(bench.channel().queued_entries(false), 0);
    EXPECT_THROW(bench.write(9, 9, 8, 0, 30), ModelError);  // beyond the page
}

TEST(PseudoChannelTest, OneLaneWhenBurstsNeedNoBankGroups) {
    HbmParams p = bare_hbm();
    p.nccdl = 2;
    Bench bench(p);
    bench.read(1, page(0, 0), 16);
    bench.read(2, page(0, 1), 16);
    auto at = bench.finish();
    EXPECT_EQ(at[1], kRcdRd + 15 * kCcdS + kCl + kBl);
    EXPECT_EQ(at[2], kRcdRd + 31 * kCcdS + kCl + kBl);
}

/// Random traffic with fixed arrivals: sparse, dense, idle for long, reads and writes of all lengths.
std::vector<DramRequest> random_traffic(int count) {
    std::mt19937 random(5);
    std::vector<DramRequest> all;
    std::int64_t at = 0;
    for (int i = 0; i < count; ++i) {
        const auto pick = random() % 100;
        at += pick == 0   ? 20'000'000
              : pick < 10 ? 1'000'000
                          : 2'000 + static_cast<std::int64_t>(random() % (i / 100 % 2 == 0 ? 60'000 : 8'000));
        const auto bursts = static_cast<std::uint16_t>(random() % 16 + 1);
        all.push_back({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(random() % 2048),
                       static_cast<std::uint16_t>(random() % static_cast<unsigned>(33 - bursts)), bursts,
                       random() % 3 == 0, Ps{at}});
    }
    return all;
}

/// Completions by tag when time is cut into windows.
std::vector<std::int64_t> completions(const HbmParams& p, const std::vector<DramRequest>& traffic, Ps window) {
    PseudoChannel channel(p, 3);
    std::vector<std::int64_t> at(traffic.size(), -1);
    std::vector<DramCompletion> done;
    const Ps end = traffic.back().arrival + from_ns(1e5);
    std::size_t next = 0;
    for (Ps now = window; now < end + window; now += window) {
        while (next < traffic.size() && traffic[next].arrival < now) channel.push(traffic[next++]);
        done.clear();
        channel.advance(now, done);
        for (const auto& d : done) at[d.tag] = d.at.count;
    }
    return at;
}

TEST(PseudoChannelTest, ResultsDoNotDependOnTheWindow) {
    for (const char* refresh : {"per_bank", "all_bank", "none"}) {
        for (const char* policy : {"open", "closed"}) {
            for (const int entries : {64, 12000}) {
                HbmParams p = h100_hbm();
                p.refresh = refresh, p.page_policy = policy;
                p.read_queue_entries = p.write_queue_entries = entries;
                const auto traffic = random_traffic(1000);
                const auto huge = completions(p, traffic, from_ns(1e9));
                EXPECT_EQ(std::count(huge.begin(), huge.end(), -1), 0);
                EXPECT_EQ(completions(p, traffic, from_ns(20)), huge) << refresh << ' ' << policy << ' ' << entries;
                EXPECT_EQ(completions(p, traffic, from_ns(1)), huge) << refresh << ' ' << policy << ' ' << entries;
            }
        }
    }
}

TEST(PseudoChannelTest, NextDueIsWhenAdvanceDecides) {
    const auto traffic = random_traffic(300);
    HbmParams p = h100_hbm();
    p.read_queue_entries = p.write_queue_entries = 4000;
    PseudoChannel channel(p, 3);
    EXPECT_EQ(channel.next_due(), kNever);
    for (const auto& r : traffic) channel.push(r);
    std::vector<DramCompletion> done;
    Ps last{-1};
    while (channel.next_due() != kNever) {
        const Ps due = channel.next_due();
        ASSERT_GT(due, last);
        last = due;
        const std::size_t before = done.size();
        channel.advance(due, done);
        EXPECT_EQ(done.size(), before) << "nothing happens before the due time";
        channel.advance(due + Ps{1}, done);
    }
    EXPECT_EQ(done.size(), traffic.size());
    EXPECT_EQ(channel.queued_entries(false) + channel.queued_entries(true), 0);
}

TEST(PseudoChannelTest, TimesAddUpToTheElapsedTimeAndDataToBytes) {
    const auto traffic = random_traffic(1500);
    HbmParams p = h100_hbm();
    p.read_queue_entries = p.write_queue_entries = 16000;
    PseudoChannel channel(p, 3);
    std::vector<DramCompletion> done;
    std::size_t next = 0;
    for (Ps now = from_ns(777); now < traffic.back().arrival + from_ns(1e5); now += from_ns(777)) {
        while (next < traffic.size() && traffic[next].arrival < now) channel.push(traffic[next++]);
        channel.advance(now, done);
        const HbmTime t = channel.time(now);
        EXPECT_NEAR(t.data_ps + t.refresh_ps + t.bank_ps + t.turnaround_ps + t.idle_ps, static_cast<double>(now.count),
                    1);
        for (const double part : {t.data_ps, t.refresh_ps, t.bank_ps, t.turnaround_ps, t.idle_ps}) EXPECT_GE(part, 0);
    }
    const Ps end = traffic.back().arrival + from_ns(1e5);
    ChannelObservation seen{};
    channel.observe(end, seen);
    EXPECT_NEAR(seen.time.data_ps,
                static_cast<double>(seen.read_bytes + seen.write_bytes) / p.pseudo_channel_gbps() * 1e3, 100);
    std::uint64_t bursts = 0;
    for (const auto& r : traffic) bursts += r.bursts;
    EXPECT_EQ(seen.read_bytes + seen.write_bytes, bursts * 32);
    EXPECT_LE(seen.row_misses + seen.row_conflicts, seen.activates);
}

}  // namespace
// A bank that is kept free for an overdue refresh must get it as soon as it transfers nothing, also when its run was
// cut by a turn of the bus: with requests for this bank alone, nothing else would wake the channel again.
TEST(PseudoChannelTest, LeavesNoRequestBehindWhenTrafficStops) {
    std::mt19937 random(13);
    HbmParams p = h100_hbm();
    const auto draw = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
    PseudoChannel channel(p, draw(~0U));
    std::vector<DramCompletion> done;
    Ps now{0};
    for (int round = 0; round < 1000; ++round) {
        std::size_t pushed = 0;
        done.clear();
        // Traffic of one kind, then none: how dense, how many writes, over how many pages, how long its runs.
        const std::uint32_t gap = 1 + draw(200), writes = draw(100), pages = 1U << draw(14), sizes = draw(3);
        const Ps stop = now + from_ns(200 + draw(6000));
        const int most = 4 + static_cast<int>(draw(48));
        for (; now < stop; now += from_ns(1 + draw(2 * gap))) {
            channel.advance(now, done);
            for (std::uint32_t left = draw(4); left > 0; --left) {
                const bool write = draw(100) < writes;
                if (channel.queued_entries(write) > most) continue;
                const std::uint32_t drawn = sizes == 0 ? 2 : sizes == 1 ? 2U << draw(5) : 1 + draw(32);
                const std::uint32_t bursts = std::min(drawn, 32U), first = draw(33 - bursts);
                channel.push({1, draw(pages), static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(bursts),
                              write, now});
                ++pushed;
            }
        }
        while (channel.next_due() != kNever) {
            now = std::max(now, channel.next_due() + Ps{1000});
            channel.advance(now, done);
        }
        ASSERT_EQ(done.size(), pushed) << "round " << round;
        now += from_ns(draw(3000));
    }
}

}  // namespace memwall::chip
