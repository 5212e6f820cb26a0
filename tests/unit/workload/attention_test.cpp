#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "device/occupancy.h"
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
    // Over a key tile that no mask touches: a comparison and half a packed conversion at half the rate, a scaling and a
    // sum at the full one, an exponential, and the output's rescaling.
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

/// The vector work of the consumers for one item of a kernel.
double fp32_of_item(const trace::Kernel& kernel) {
    double ops = 0;
    bool done = false;
    test::walk(kernel, [&](const trace::Role& role, const trace::Step& s, const test::Vars& vars) {
        done = done || vars[trace::kVarCta] > 0;
        if (!done && role.name == "consumer" && vars[trace::kVarInstance] == 0 && s.kind == StepKind::vector)
            ops += s.vec.fp32_ops;
    });
    return ops;
}

TEST(AttentionPrefill, OnlyTilesAtTheEdgeAreMasked) {
    // One query tile over two key tiles of 128, of which the diagonal crosses one; without a mask the last keys are
    // compared with their number. A comparison and a selection a score, each two lanes.
    const auto shape = [](const std::string& causal) {
        return build(
            "attention_prefill batch=1 heads=1 kv_heads=1 q=128 kv=256 head_dim=128 dtype=bf16 tile=128x128x128 "
            "causal=" +
            causal);
    };
    const double scores = 64.0 * 128, steady = 5 * scores + 64 * 128, first = 5 * scores, end = 2 * 64 * 128;
    EXPECT_DOUBLE_EQ(fp32_of_item(shape("0").kernels[0]), first + 3 * scores + steady + end);
    EXPECT_DOUBLE_EQ(fp32_of_item(shape("1").kernels[0]), first + 4 * scores + steady + end);
}

// FlashAttention-3, hopper/tile_size.h: at head sizes up to 64 without a causal mask the exponentials go through shared
// memory, at 128 they stay in registers.
TEST(AttentionPrefill, ExponentialsGoWhereFlashAttention3PutsThem) {
    const auto consumer = [](const std::string& rest) {
        const trace::Trace t = build("attention_prefill batch=1 heads=1 kv_heads=1 q=1024 kv=1024 dtype=fp16 " + rest);
        double stored = 0;
        int from_smem = 0;
        for (const auto& s : t.kernels[0].roles.back().steps) {
            if (s.kind == StepKind::vector && s.vec.sfu_ops == 0) stored = std::max(stored, s.vec.smem_bytes);
            from_smem += s.kind == StepKind::mma && !s.mma.a_from_registers ? 1 : 0;
        }
        return std::pair{stored, from_smem};
    };
    EXPECT_EQ(consumer("head_dim=64 causal=0"), (std::pair{64.0 * 192 * 2, 4}));  // twice QK, twice PV
    EXPECT_EQ(consumer("head_dim=64 causal=1"), (std::pair{0.0, 3}));             // QK in three places
    EXPECT_EQ(consumer("head_dim=128 causal=0"), (std::pair{0.0, 2}));
}

/// Whether an SM holds a CTA of every kernel.
bool fits(const trace::Trace& t) {
    return std::all_of(t.kernels.begin(), t.kernels.end(), [](const trace::Kernel& k) {
        int warps = 0;
        for (const trace::Role& role : k.roles) warps += role.instances * role.warps;
        const device::SmParams& sm = h100().sm;
        return device::occupancy(sm, device::allocated(sm, warps, k.registers_per_thread, k.smem_bytes)) > 0;
    });
}

TEST(Attention, AnSmHoldsTheTilesOfEveryHeadSize) {
    for (const char* dim : {"64", "80", "96", "128", "192", "256"}) {
        for (const char* types : {"dtype=bf16", "dtype=fp8"}) {
            for (const char* page : {"", " page=64"}) {
                const std::string rest = std::string(" batch=2 heads=8 kv_heads=2 kv=1024 head_dim=") + dim + " ";
                EXPECT_TRUE(fits(build("attention_decode kernel=flash3" + rest + types + page)))
                    << dim << types << page;
            }
        }
        for (const char* more : {"causal=0", "causal=1", "causal=0 page=64", "causal=1 page=64"}) {
            for (const char* dtype : {" dtype=bf16", " dtype=fp8"}) {
                const std::string rest = std::string(" batch=2 heads=8 kv_heads=2 q=1024 kv=1024 head_dim=") + dim;
                EXPECT_TRUE(fits(build("attention_prefill " + std::string(more) + rest + dtype)))
                    << dim << more << dtype;
            }
        }
    }
}

TEST(AttentionPrefill, SmallPagesAreCopiedByThreadsWhoReadTheirAddressesFirst) {
    const auto of = [](const std::string& rest) {
        return build("attention_prefill batch=2 heads=4 kv_heads=2 q=512 kv=512 head_dim=128 causal=0 dtype=bf16 " +
                     rest);
    };
    const trace::Trace paged = of("page=64"), whole = of("page=256");
    const trace::Kernel& k = paged.kernels[0];
    EXPECT_EQ(k.tile[1], 128);  // tile_size.h: 176 where the TMA loads
    EXPECT_EQ(whole.kernels[0].tile[1], 176);
    for (const trace::Trace* t : {&paged, &whole}) {
        for (const auto& s : t->kernels[0].roles[0].steps) {
            if (s.kind == StepKind::load && s.ring < 2) {
                EXPECT_EQ(s.path, t == &paged ? trace::LoadPath::plain : trace::LoadPath::tma);
            }
        }
    }
    // The two heads of a group share a tile of 64 tokens: a table entry for each page of a key tile, for each of eight
    // query tiles and two groups.
    EXPECT_TRUE(test::all_are(
        test::touched(paged, k, StepKind::load, test::tensor_named(paged, "attention.page_table")), 8 * 2));
    EXPECT_EQ(k.work.items(), 2 * 8 * 2);
    EXPECT_TRUE(test::all_are(test::touched(paged, k, StepKind::load, test::tensor_named(paged, "attention.q")), 1));
    EXPECT_TRUE(test::all_are(test::touched(paged, k, StepKind::store, test::tensor_named(paged, "attention.o")), 1));
    EXPECT_THROW(of("page=64 path=tma"), InputError);
}

TEST(AttentionPrefill, TheNextQueriesMayComeWhileTheLastProductRuns) {
    const trace::Trace t =
        build("attention_prefill batch=1 heads=1 kv_heads=1 q=1024 kv=1024 head_dim=128 causal=0 dtype=bf16");
    const auto& steps = t.kernels[0].roles.back().steps;
    const auto last = [&](StepKind kind, int ring) {
        std::ptrdiff_t at = -1;
        for (std::size_t i = 0; i < steps.size(); ++i) {
            if (steps[i].kind == kind && (ring < 0 || steps[i].ring == ring)) at = static_cast<std::ptrdiff_t>(i);
        }
        return at;
    };
    EXPECT_LT(last(StepKind::release, 2), last(StepKind::mma, -1));
}

TEST(FlashDecode, ReadsEveryKeyAndValueOnceAndItsPageTableToo) {
    const trace::Trace t = build(
        "attention_decode batch=3 heads=8 kv_heads=2 kv=2048 head_dim=64 dtype=bf16 page=64 kernel=flash3 split=3");
    const trace::Kernel& k = t.kernels[0];
    for (const char* name : {"attention.k", "attention.v"})
        EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::load, test::tensor_named(t, name)), 1)) << name;
    // Every head reads its sequence's table.
    EXPECT_TRUE(test::all_are(test::touched(t, k, StepKind::load, test::tensor_named(t, "attention.page_table")), 2));
    EXPECT_EQ(k.split, 3);
    EXPECT_TRUE(
        test::all_are(test::touched(t, t.kernels[1], StepKind::store, test::tensor_named(t, "attention.o")), 1));
    // 64 rows for the four queries that there are, whole tiles of 192 keys.
    EXPECT_DOUBLE_EQ(mma_flops(k), k.flops * 64 / 4 * (11.0 * 192 / 2048));
}

TEST(FlashDecode, ATileThatIsNoMultipleOfAPageReadsTheEntryOfEachThatItTouches) {
    const trace::Trace t = build(
        "attention_decode batch=1 heads=2 kv_heads=1 kv=800 head_dim=256 dtype=bf16 page=64 kernel=flash3 split=1");
    ASSERT_EQ(t.kernels[0].tile[1], 80);
    const auto entries = test::touched(t, t.kernels[0], StepKind::load, test::tensor_named(t, "attention.page_table"));
    EXPECT_TRUE(test::all_are(entries, 1));
    EXPECT_EQ(entries.size(), 2U * 800 / 80);
}

TEST(FlashDecode, RowsOfTwoWarpgroupsAreBothComputedAndOneIsStored) {
    const std::string shape =
        "attention_decode batch=1 heads=16 kv_heads=2 kv=1760 head_dim=128 dtype=fp16 kernel=flash3 split=5 tile=";
    const auto one = build(shape + "64x176x128"), two = build(shape + "128x176x128");
    EXPECT_DOUBLE_EQ(mma_flops(one.kernels[0]), one.kernels[0].flops * 64 / 8);
    EXPECT_DOUBLE_EQ(mma_flops(two.kernels[0]), 2 * mma_flops(one.kernels[0]));
    for (const trace::Trace* t : {&one, &two}) {
        EXPECT_TRUE(test::all_are(
            test::touched(*t, t->kernels[0], StepKind::store, test::tensor_named(*t, "attention.partial")), 1));
    }
    const auto refusal = [](const std::string& op) -> std::string {
        try {
            build(op);
        } catch (const InputError& error) {
            return error.what();
        }
        return "none";
    };
    EXPECT_NE(refusal(shape + "96x176x128").find("96 rows"), std::string::npos);
    EXPECT_NE(refusal(shape + "128x100x128").find("100 keys"), std::string::npos);
    // Whether the tile is asked for or the rule's.
    const std::string wide =
        "attention_decode batch=1 heads=160 kv_heads=1 kv=1760 head_dim=128 dtype=fp16 kernel=flash3";
    for (const char* tile : {"", " tile=128x176x128"})
        EXPECT_NE(refusal(wide + tile).find("hold the 160 queries"), std::string::npos) << tile;
}

TEST(FlashDecode, TheNextScoresAreAskedForBeforeThisTilesValues) {
    const std::string shape =
        "attention_decode batch=1 heads=8 kv_heads=1 kv=1024 head_dim=128 dtype=bf16 kernel=flash3 ";
    const auto order = [&](const std::string& rest) {
        std::string letters;
        const trace::Trace t = build(shape + rest);
        for (const auto& step : t.kernels[0].roles.back().steps) {
            if (step.kind == StepKind::mma) letters += step.mma.a_from_registers ? 'v' : 'k';
            if (step.kind == StepKind::loop_begin) letters += '(';
            if (step.kind == StepKind::loop_end) letters += ')';
        }
        return letters;
    };
    EXPECT_EQ(order(""), "k(kv)v");
    EXPECT_EQ(order("overlap=0"), "(kv)");
}

TEST(FlashDecode, TheCombineReadsEveryPartialOutputOnceSplitBySplit) {
    const trace::Trace t =
        build("attention_decode batch=3 heads=20 kv_heads=4 kv=8192 head_dim=256 dtype=fp16 kernel=flash3 split=9");
    const trace::Kernel& combine = t.kernels[1];
    EXPECT_EQ(t.kernels[0].split, 9);
    EXPECT_EQ(combine.ctas, 3 * 3 * 2);  // sequences, eight heads each, halves of their columns
    EXPECT_TRUE(
        test::all_are(test::touched(t, combine, StepKind::load, test::tensor_named(t, "attention.partial")), 1));
    // The halves of a head both need its weights.
    EXPECT_TRUE(test::all_are(test::touched(t, combine, StepKind::load, test::tensor_named(t, "attention.lse")), 2));
    EXPECT_TRUE(
        test::all_are(test::touched(t, t.kernels[0], StepKind::store, test::tensor_named(t, "attention.lse")), 1));
    EXPECT_TRUE(test::all_are(test::touched(t, combine, StepKind::store, test::tensor_named(t, "attention.o")), 1));
    // Four columns a thread: of 64 columns sixteen heads, of 192 eight and the second block half empty.
    const auto ctas = [](const std::string& dim) {
        return build("attention_decode batch=1 heads=32 kv_heads=4 kv=8192 dtype=fp16 kernel=flash3 split=9 head_dim=" +
                     dim)
            .kernels[1]
            .ctas;
    };
    EXPECT_EQ(ctas("64"), 2);
    EXPECT_EQ(ctas("96"), 4);
    EXPECT_EQ(ctas("192"), 4 * 2);
}

TEST(FlashDecode, SchedulesInTheCallOrAheadOfIt) {
    const std::string shape = "attention_decode batch=70 heads=8 kv_heads=1 kv=1024 head_dim=128 dtype=bf16 kernel=";
    EXPECT_EQ(build(shape + "flash3").kernels[0].name, "attention");
    const trace::Trace t = build(shape + "flash3 scheduled=in_call");
    EXPECT_EQ(t.kernels[0].name, "attention.schedule");
    EXPECT_EQ(t.kernels[0].ctas, 1);
    EXPECT_EQ(t.kernels[1].name, "attention");
    EXPECT_THROW(build(shape + "swapped scheduled=in_call"), InputError);
}

// Sequences with pages are of any length, whose tiles a kernel counts out. What sets the counter back: the scheduling
// kernel where each call has its own, else a fill behind the attention.
TEST(AttentionPrefill, TilesOfSequencesOfAnyLengthAreCountedOut) {
    const std::string shape =
        "attention_prefill batch=3 heads=8 kv_heads=2 q=256 kv=256 head_dim=128 causal=1 dtype=bf16";
    const auto names = [](const trace::Trace& t) {
        std::vector<std::string> found;
        for (const trace::Kernel& k : t.kernels) found.push_back(k.name);
        return found;
    };
    using Names = std::vector<std::string>;
    EXPECT_EQ(names(build(shape)), Names{"attention"});
    const trace::Trace ahead = build(shape + " page=64");
    EXPECT_EQ(names(ahead), (Names{"attention", "attention.reset"}));
    const auto cleared =
        test::touched(ahead, ahead.kernels[1], StepKind::store, test::tensor_named(ahead, "attention.lengths"));
    EXPECT_EQ(std::count(cleared.begin(), cleared.end(), 1), 1);
    EXPECT_EQ(cleared.front(), 1);
    const trace::Trace in_call = build(shape + " page=64 scheduled=in_call");
    EXPECT_EQ(names(in_call), (Names{"attention.schedule", "attention"}));
    EXPECT_EQ(in_call.kernels[0].op, "attention_prefill");
    EXPECT_THROW(build(shape + " scheduled=in_call"), InputError);
    EXPECT_THROW(build(shape + " page=64 scheduled=in_call flash=0"), InputError);
}

TEST(AttentionPrefill, FlashAttentionHasNoKernelForFp32) {
    const std::string shape = "attention_prefill batch=1 heads=2 kv_heads=2 q=64 kv=64 head_dim=16 causal=0 dtype=fp32";
    EXPECT_THROW(build(shape), InputError);
    EXPECT_NO_THROW(build(shape + " flash=0"));
}

TEST(FlashDecode, SplitsByFlashAttention3sRuleAndAlwaysLaunchesTheCombine) {
    const auto kernels = [](const std::string& rest) {
        return build("attention_decode heads=32 kv_heads=8 head_dim=128 dtype=bf16 page=64 kernel=flash3 " + rest)
            .kernels;
    };
    // 128 tiles of 8 heads with a tenth more are 9 an SM, so 15 splits; as many as 15 are allowed, with which 120 of
    // 132 SMs have one, the fewest above 85 % of the fullest (33 splits, two whole waves).
    EXPECT_EQ(kernels("batch=1 kv=16384")[0].split, 15);
    EXPECT_EQ(kernels("batch=1 kv=65536")[0].split, 15);  // 36 an SM, of 512: here the second rule binds no more
    EXPECT_EQ(kernels("batch=16 kv=1024")[0].split, 1);
    const auto unsplit = kernels("batch=64 kv=1024");
    ASSERT_EQ(unsplit.size(), 2U);
    EXPECT_EQ(unsplit[1].name, "attention.combine");
    EXPECT_EQ(unsplit[0].ctas, 132);
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

TEST(Attention, NewKeysAndValuesAreWrittenOnceInFrontOfIt) {
    const std::string rest =
        " batch=3 heads=8 kv_heads=2 kv=256 head_dim=64 dtype=bf16 page=64 kv_layout=nhd kv_write=1";
    const trace::Trace decode = build("attention_decode kernel=flash3" + rest),
                       prefill = build("attention_prefill q=192 causal=1" + rest);
    for (const trace::Trace* t : {&decode, &prefill}) {
        const std::size_t tokens = t == &decode ? 1 : 192;
        const trace::Kernel& write = t->kernels[0];
        EXPECT_EQ(write.name, "attention.kv_write");
        EXPECT_EQ(write.ctas, static_cast<std::int64_t>(3 * tokens));
        for (const char* fresh : {"attention.new_k", "attention.new_v"})
            EXPECT_TRUE(test::all_are(test::touched(*t, write, StepKind::load, test::tensor_named(*t, fresh)), 1));
        // Of every sequence and head ([batch][head][token][dim]) the last tokens, and no other.
        for (const char* cache : {"attention.k", "attention.v"}) {
            const auto written = test::touched(*t, write, StepKind::store, test::tensor_named(*t, cache));
            ASSERT_EQ(written.size(), 3U * 2 * 256 * 64);
            for (std::size_t i = 0; i < written.size(); ++i)
                ASSERT_EQ(written[i], i / 64 % 256 >= 256 - tokens ? 1 : 0) << cache << " " << i;
        }
        EXPECT_EQ(write.compulsory_write_bytes, 2U * 3 * tokens * 2 * 64 * 2);
    }
    EXPECT_EQ(decode.kernels[1].name, "attention");
    EXPECT_THROW(build("attention_prefill q=192 causal=1 flash=0" + rest), InputError);
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

// The output goes through the values' shared memory. A TMA reads it there; threads take it into registers first, so
// that the next values may come, but not the products that overwrite these.
TEST(AttentionPrefill, TheOutputLeavesBeforeWhatOverwritesIt) {
    const auto ends_with = [](const std::string& page) {
        const trace::Trace t =
            build("attention_prefill batch=2 heads=8 kv_heads=2 q=512 kv=512 head_dim=128 causal=1 dtype=bf16" + page);
        const auto main = std::find_if(t.kernels.begin(), t.kernels.end(), [](const trace::Kernel& k) {
            return std::any_of(k.roles.begin(), k.roles.end(),
                               [](const trace::Role& r) { return r.name == "consumer"; });
        });
        EXPECT_NE(main, t.kernels.end());
        std::vector<StepKind> last;
        for (auto step = main->roles.back().steps.end() - 3; step != main->roles.back().steps.end(); ++step)
            last.push_back(step->kind);
        return last;
    };
    EXPECT_EQ(ends_with(""), (std::vector{StepKind::store, StepKind::wait_reads, StepKind::release}));
    EXPECT_EQ(ends_with(" page=64"), (std::vector{StepKind::store, StepKind::release, StepKind::wait_reads}));
}

struct Causal {
    int q, kv, head_dim;
};

void PrintTo(const Causal& c, std::ostream* out) {
    *out << c.q << " of " << c.kv << " tokens, head_dim " << c.head_dim;
}

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
    EXPECT_EQ(loads, 2 * expected);
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
    wish.tile = {96, 128, 128};
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
