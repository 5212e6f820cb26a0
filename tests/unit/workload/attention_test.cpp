#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "device/reader.h"
#include "trace/check.h"
#include "unit/workload/walk.h"
#include "workload/workload.h"

namespace memwall::workload {
namespace {

using trace::StepKind;

const device::Device& h100() {
    static const device::Device d = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    return d;
}

trace::Trace build(const std::string& op, const ScheduleWish& wish = {}) {
    return build_trace(parse_op(op), wish, h100(), {});
}

double mma_flops(const trace::Kernel& k) {
    double flops = 0;
    test::walk(k, [&](const trace::Role&, const trace::Step& s, const test::Vars&) {
        if (s.kind == StepKind::mma) flops += 2.0 * s.mma.m * s.mma.n * s.mma.k;
    });
    return flops;
}

TEST(AttentionPrefill, SoftmaxCostsItsPassesOverEveryScore) {
    const auto trace =
        build("attention_prefill batch=1 heads=1 kv_heads=1 q=1024 kv=1760 head_dim=128 causal=0 dtype=bf16");
    const trace::Kernel& kernel = trace.kernels.front();
    ASSERT_EQ(kernel.roles.back().name, "consumer");
    // Over one key tile: a comparison and half a packed conversion at half the rate, a scaling and a sum at the full
    // one, an exponential, and the output's rescaling.
    double fp32 = 0, sfu = 0;
    bool inside = false;
    for (const auto& step : kernel.roles.back().steps) {
        if (step.kind == trace::StepKind::loop_begin) inside = true;
        if (step.kind == trace::StepKind::loop_end) break;
        if (!inside || step.kind != trace::StepKind::vector) continue;
        fp32 += step.vec.fp32_ops;
        sfu += step.vec.sfu_ops;
    }
    const double scores = 64.0 * 176;
    EXPECT_DOUBLE_EQ(sfu, scores);
    EXPECT_DOUBLE_EQ(fp32, (2 + 1 + 1 + 1) * scores + 64 * 128);
}

TEST(AttentionDecode, ReadsEveryKeyAndValueOnce) {
    const trace::Trace t = build("attention_decode batch=2 heads=8 kv_heads=2 kv=1000 head_dim=64 dtype=bf16");
    const trace::Kernel& k = t.kernels[0];
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::load, test::tensor_named(t, "attention.k")), 1));
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::load, test::tensor_named(t, "attention.v")), 1));
    EXPECT_EQ(k.flops, 4.0 * 2 * 8 * 1000 * 64);
    EXPECT_EQ(k.compulsory_read_bytes, 2U * (2 * 2 * 1000 * 64) * 2 + 2 * 8 * 64 * 2);
}

TEST(AttentionDecode, PagesAreReadOneByOneAndAllOfThem) {
    const trace::Trace t = build("attention_decode batch=1 heads=8 kv_heads=2 kv=500 head_dim=64 dtype=bf16 page=16");
    EXPECT_TRUE(test::all_are(test::touched(t, t.kernels[0], StepKind::load, test::tensor_named(t, "attention.k")), 1));
    test::walk(t.kernels[0], [&](const trace::Role&, const trace::Step& s, const test::Vars&) {
        if (s.kind == StepKind::load && s.ring == 0) {
            EXPECT_EQ(s.box[2], 16);
        }
    });
}

TEST(AttentionDecode, SplitsAreCombined) {
    const trace::Trace t = build("attention_decode batch=1 heads=32 kv_heads=8 kv=8192 head_dim=128 dtype=bf16");
    ASSERT_EQ(t.kernels.size(), 2U);
    EXPECT_GT(t.kernels[0].split, 1);
    EXPECT_GE(t.kernels[0].ctas, h100().sms());
    EXPECT_EQ(t.kernels[1].name, "attention.combine");
    EXPECT_TRUE(
        test::all_are(test::touched(t, t.kernels[1], StepKind::store, test::tensor_named(t, "attention.o")), 1));
    // Many sequences fill the chip without a split.
    EXPECT_EQ(build("attention_decode batch=64 heads=32 kv_heads=8 kv=1024 head_dim=128 dtype=bf16").kernels.size(),
              1U);
}

TEST(AttentionPrefill, FullMaskCoversEveryPairOnce) {
    const trace::Trace t =
        build("attention_prefill batch=2 heads=4 kv_heads=2 q=300 kv=700 head_dim=128 causal=0 dtype=fp16");
    const trace::Kernel& k = t.kernels[0];
    const int q_tiles = 3;  // of 128
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::store, test::tensor_named(t, "attention.o")), 1));
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::load, test::tensor_named(t, "attention.k")), 2 * q_tiles));
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::load, test::tensor_named(t, "attention.v")), 2 * q_tiles));
    EXPECT_EQ(k.flops, 4.0 * 2 * 4 * 128 * 300 * 700);
    EXPECT_EQ(k.tile, (std::array<int, 3>{128, 176, 128}));  // FlashAttention-3's
    EXPECT_GE(mma_flops(k), k.flops);
}

struct Causal {
    int q, kv, head_dim;
};

class CausalPrefill : public ::testing::TestWithParam<Causal> {};

TEST_P(CausalPrefill, EveryQueryTileSeesTheKeysUpToItsLastQuery) {
    const auto [q, kv, head_dim] = GetParam();
    const trace::Trace t =
        build("attention_prefill batch=1 heads=2 kv_heads=2 q=" + std::to_string(q) + " kv=" + std::to_string(kv) +
              " head_dim=" + std::to_string(head_dim) + " causal=1 dtype=bf16");
    const trace::Kernel& k = t.kernels[0];
    const int queries = k.tile[0], keys = k.tile[1];
    std::int64_t expected = 0;
    for (int tile = 0; tile * queries < q; ++tile) {
        const int last = std::min(kv, kv - q + (tile + 1) * queries);
        expected += 2 * ((last + keys - 1) / keys);  // two heads
    }
    std::int64_t loads = 0, products = 0;
    test::walk(k, [&](const trace::Role&, const trace::Step& s, const test::Vars&) {
        loads += s.kind == StepKind::load && s.ring != 2 ? 1 : 0;
        products += s.kind == StepKind::mma ? 1 : 0;
    });
    // The offset kv - q is rounded up to a tile.
    const std::int64_t most = expected + ((kv - q) % keys != 0 ? 2 * ((q + queries - 1) / queries) : 0);
    EXPECT_GE(loads, 2 * expected);
    EXPECT_LE(loads, 2 * most);
    EXPECT_EQ(products, loads * queries / 64);
    EXPECT_EQ(k.flops, 4.0 * 2 * head_dim * (static_cast<double>(q) * kv - q * (q - 1) / 2.0));
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::store, test::tensor_named(t, "attention.o")), 1));
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalPrefill,
                         ::testing::Values(Causal{512, 512, 128}, Causal{500, 500, 128}, Causal{1, 1, 128},
                                           Causal{256, 1024, 128}, Causal{200, 333, 128}, Causal{1000, 1000, 64},
                                           Causal{300, 300, 256}));

TEST(AttentionPrefill, LongestTilesComeFirst) {
    const trace::Trace t =
        build("attention_prefill batch=1 heads=1 kv_heads=1 q=1024 kv=1024 head_dim=128 causal=1 dtype=bf16");
    std::vector<std::int64_t> rows;
    test::walk(t.kernels[0], [&](const trace::Role&, const trace::Step& s, const test::Vars& vars) {
        if (s.kind == StepKind::load && s.ring == 2) rows.push_back(s.origin[1].at(vars));
    });
    EXPECT_TRUE(std::is_sorted(rows.rbegin(), rows.rend()));
    EXPECT_EQ(rows.front(), 896);
}

TEST(AttentionPrefill, WithoutFlashTheScoresGoToMemory) {
    const trace::Trace t =
        build("attention_prefill batch=1 heads=2 kv_heads=2 q=512 kv=512 head_dim=128 causal=0 dtype=bf16 flash=0");
    ASSERT_EQ(t.kernels.size(), 3U);
    EXPECT_EQ(t.kernels[0].compulsory_write_bytes, 2U * 512 * 512 * 2);
    EXPECT_EQ(t.kernels[1].op, "softmax");
}

TEST(Attention, RefusesWhatMakesNoSense) {
    EXPECT_THROW(build("attention_decode batch=1 heads=6 kv_heads=4 kv=128 head_dim=128 dtype=bf16"), InputError);
    EXPECT_THROW(build("attention_decode batch=1 heads=8 kv_heads=8 kv=128 head_dim=100 dtype=bf16"), InputError);
    EXPECT_THROW(build("attention_prefill batch=1 heads=8 kv_heads=8 q=128 kv=64 head_dim=128 causal=1 dtype=bf16"),
                 InputError);
    ScheduleWish wish;
    wish.tile = {128, 96, 128};
    EXPECT_THROW(
        build("attention_prefill batch=1 heads=8 kv_heads=8 q=128 kv=128 head_dim=128 causal=1 dtype=bf16", wish),
        InputError);
    wish.tile = {128, 128, 128};
    wish.stages = 4;
    EXPECT_THROW(
        build("attention_prefill batch=1 heads=8 kv_heads=8 q=128 kv=128 head_dim=128 causal=1 dtype=bf16", wish),
        InputError);
}

}  // namespace
}  // namespace memwall::workload
