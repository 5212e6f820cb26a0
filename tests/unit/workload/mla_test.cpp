// Latent attention: who gets which keys, that every key and query meets, and what it costs.
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "device/reader.h"
#include "trace/check.h"
#include "unit/workload/walk.h"
#include "workload/mla_decode.h"
#include "workload/workload.h"

namespace memwall::workload {
namespace {

using trace::StepKind;

trace::Trace build(const std::string& op, const ScheduleWish& wish = {}) {
    static const device::Device h100 = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    return build_trace(parse_op(op), wish, h100, {});
}

std::string mla(std::int64_t batch, std::int64_t heads, std::int64_t kv, const std::string& more = "q=1") {
    return "mla_decode batch=" + std::to_string(batch) + " heads=" + std::to_string(heads) +
           " kv=" + std::to_string(kv) + " rank=512 rope_dim=64 dtype=bf16 " + more;
}

TEST(MlaSchedule, GivesEveryBlockToOneAndNumbersTheParts) {
    struct Case {
        std::int64_t batch, blocks, parts;
    };
    for (const Case& c : {Case{128, 64, 132}, Case{128, 64, 66}, Case{1, 1000, 132}, Case{3, 7, 132}, Case{7, 513, 33},
                          Case{1, 1, 132}}) {
        SCOPED_TRACE(::testing::Message() << c.batch << " x " << c.blocks << " blocks, " << c.parts << " parts");
        const auto schedule = mla_schedule(c.batch, c.blocks, c.parts);
        ASSERT_EQ(schedule.size(), static_cast<std::size_t>(c.parts));
        std::int64_t sequence = 0, done = 0, slots = 0;
        for (const auto& runs : schedule) {
            for (const MlaRun& run : runs) {
                ASSERT_EQ(run.batch, sequence);
                ASSERT_EQ(run.begin, done);
                ASSERT_GE(run.blocks, 1);
                const bool whole = run.begin == 0 && run.blocks == c.blocks;
                EXPECT_EQ(run.slot, whole ? 0 : ++slots);
                done += run.blocks;
                ASSERT_LE(done, c.blocks);
                if (done == c.blocks) {
                    ++sequence;
                    done = 0;
                }
            }
        }
        EXPECT_EQ(sequence, c.batch);
        EXPECT_EQ(done, 0);
    }
}

// get_mla_metadata by hand: shares of ceil(128 * (64 + 5) / parts) + 5 blocks, of which a run of 64 costs 69.
TEST(MlaSchedule, LeavesSequencesWholeThatFillAShare) {
    const auto one_each = mla_schedule(128, 64, 132);  // 72: one sequence, and nothing of the next
    for (std::size_t i = 0; i < one_each.size(); ++i) EXPECT_EQ(one_each[i].size(), i < 128 ? 1U : 0U);
    const auto two_each = mla_schedule(128, 64, 66);  // 139: two
    for (std::size_t i = 0; i < two_each.size(); ++i) EXPECT_EQ(two_each[i].size(), i < 64 ? 2U : 0U);
    const auto divided = mla_schedule(1, 1000, 132);  // 13: eight blocks each
    EXPECT_EQ(divided[0].front().blocks, 8);
    EXPECT_EQ(divided[124].front().blocks, 8);
    EXPECT_TRUE(divided[125].empty());
    const auto between = mla_schedule(300, 10, 132);  // 40: two of 15, and 10 - 5 of the third
    ASSERT_EQ(between[0].size(), 3U);
    EXPECT_EQ(between[0].back().blocks, 5);
}

TEST(MlaDecode, EveryRowBlockLoadsEachKeyOnce) {
    for (const auto& [op, row_blocks] : std::map<std::string, int>{{mla(3, 16, 320), 1},    // one block over a pair
                                                                   {mla(2, 128, 1000), 2},  // clipped at its end
                                                                   {mla(1, 64, 64), 1},     // a block alone
                                                                   {mla(2, 64, 4160, "q=2"), 2},
                                                                   {mla(2, 16, 1000, "q=1 page=128"), 1}}) {
        SCOPED_TRACE(op);
        const auto trace = build(op);
        const auto& kernel = trace.kernels[0];
        EXPECT_TRUE(test::all_are(test::touched(trace, kernel, StepKind::load, test::tensor_named(trace, "mla.kv")),
                                  row_blocks));
    }
}

TEST(MlaDecode, EachOutputIsStoredOnceByOneOfTheTwoKernels) {
    const std::string narrow = "mla_decode batch=5 heads=24 kv=3000 rank=256 rope_dim=128 q=3 dtype=fp16";
    for (const std::string& op : {mla(3, 16, 320), mla(1, 128, 8192), mla(5, 32, 5000), mla(150, 16, 256), narrow}) {
        SCOPED_TRACE(op);
        const auto trace = build(op);
        const int o = test::tensor_named(trace, "mla.o"), partial = test::tensor_named(trace, "mla.partial");
        auto stored = test::touched(trace, trace.kernels[0], StepKind::store, o);
        const auto combined = test::touched(trace, trace.kernels[1], StepKind::store, o);
        for (std::size_t i = 0; i < stored.size(); ++i) stored[i] += combined[i];
        EXPECT_TRUE(test::all_are(stored, 1));
        // What the one leaves, the other takes.
        EXPECT_EQ(test::touched(trace, trace.kernels[0], StepKind::store, partial),
                  test::touched(trace, trace.kernels[1], StepKind::load, partial));
    }
}

TEST(MlaDecode, ProductsAreThoseOfWholeBlocks) {
    for (const std::int64_t kv : {64, 4096, 4160, 4100}) {
        const auto trace = build(mla(2, 128, kv));
        double flops = 0;
        test::walk(trace.kernels[0], [&](const trace::Role&, const trace::Step& s, const test::Vars&) {
            if (s.kind == StepKind::mma) flops += 2.0 * s.mma.m * s.mma.n * s.mma.k;
        });
        const double tokens = static_cast<double>((kv + 63) / 64 * 64);
        EXPECT_DOUBLE_EQ(flops, 2.0 * 2 * 128 * tokens * (576 + 512)) << kv;
        EXPECT_DOUBLE_EQ(trace.kernels[0].flops, 2.0 * 2 * 128 * static_cast<double>(kv) * (576 + 512)) << kv;
    }
}

TEST(MlaDecode, EveryScoreHasOneExponential) {
    const auto trace = build(mla(1, 64, 64 * 9));
    double sfu = 0;
    test::walk(trace.kernels[0], [&](const trace::Role&, const trace::Step& s, const test::Vars&) {
        if (s.kind == StepKind::vector && s.vec.fp32_ops == 2 * s.vec.sfu_ops) sfu += s.vec.sfu_ops;
    });
    EXPECT_DOUBLE_EQ(sfu, 64.0 * 64 * 9);
}

TEST(MlaDecode, RefusesWhatFlashMlaHasNoKernelFor) {
    for (const char* op : {"mla_decode batch=1 heads=16 kv=64 rank=500 rope_dim=64 q=1 dtype=bf16",
                           "mla_decode batch=1 heads=16 kv=64 rank=1024 rope_dim=64 q=1 dtype=bf16",
                           "mla_decode batch=1 heads=16 kv=64 rank=512 rope_dim=60 q=1 dtype=bf16",
                           "mla_decode batch=1 heads=16 kv=64 rank=512 rope_dim=256 q=1 dtype=bf16",
                           "mla_decode batch=1 heads=16 kv=64 rank=512 rope_dim=64 q=1 dtype=fp8",
                           "mla_decode batch=1 heads=16 kv=64 rank=512 rope_dim=64 q=1 dtype=bf16 page=16",
                           "mla_decode batch=1 heads=16 kv=1 rank=512 rope_dim=64 q=2 dtype=bf16"}) {
        EXPECT_THROW(build(op), InputError) << op;
    }
    ScheduleWish wish;
    wish.split = 2;
    EXPECT_THROW(build(mla(1, 16, 64), wish), InputError);
}

TEST(DealtWork, MustNameEachCtaAndTilesThatThereAre) {
    auto trace = build(mla(3, 16, 320));
    trace::check(trace);
    auto short_of_one = trace;
    short_of_one.kernels[0].work.dealt.pop_back();
    EXPECT_THROW(trace::check(short_of_one), InputError);
    auto beyond = trace;
    beyond.kernels[0].work.dealt[0].push_back({3, 0, 1, 0});
    EXPECT_THROW(trace::check(beyond), InputError);
    auto negative = trace;
    negative.kernels[0].work.dealt[0][0].rest = -1;
    EXPECT_THROW(trace::check(negative), InputError);
    // A kernel whose roles disagree on how often a ring goes round is found at whichever piece shows it.
    auto unbalanced = trace;
    auto& steps = unbalanced.kernels[0].roles[1].steps;
    const auto odd_pair = std::find_if(steps.begin(), steps.end(), [](const trace::Step& s) {
        return s.kind == StepKind::loop_begin && s.count_limit && s.count.coefficient[trace::kWorkDims - 2] == 1;
    });
    ASSERT_NE(odd_pair, steps.end());
    odd_pair->count = 0;
    EXPECT_THROW(trace::check(unbalanced), InputError);
}

}  // namespace
}  // namespace memwall::workload
