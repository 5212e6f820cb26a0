#include "trace/check.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "workload/steps.h"

namespace memwall::trace {
namespace {

using namespace workload;  // the shorthands of steps.h

/// A producer that fills a ring of two stages eight times and a consumer that empties it.
Trace good() {
    Trace t;
    const int tensor = t.add_tensor("data", Dtype::int8, {64, 1024});
    Kernel k;
    k.name = "read";
    k.work.extent = {1, 1, 8, 1};
    k.ctas = 8;
    k.smem_bytes = 2 * 1024;
    k.rings = {{"tiles", 2, 1024, 1, false}};
    const Step load = move(StepKind::load, 0, tensor, {item(2, 8) + turn(0), 0}, {1, 1024}, LoadPath::tma);
    k.roles = {{"producer", 1, 1, {loop(8), acquire(0), load, commit(0), end_loop()}},
               {"consumer", 1, 4, {loop(8), wait_full(0), vector({1, 0, 0, 0}), release(0), end_loop()}}};
    t.kernels = {k};
    return t;
}

struct Broken {
    const char* what;
    const char* message;  // a part of it
    std::function<void(Trace&)> how;
};

void PrintTo(const Broken& b, std::ostream* out) {
    *out << b.what;
}

class Check : public ::testing::TestWithParam<Broken> {};

TEST(CheckTest, AGoodTracePasses) {
    EXPECT_NO_THROW(check(good()));
}

TEST_P(Check, NamesWhatIsBroken) {
    Trace t = good();
    GetParam().how(t);
    try {
        check(t);
        FAIL() << "passed: " << GetParam().what;
    } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
    }
}

std::vector<Step>& producer(Trace& t) {
    return t.kernels[0].roles[0].steps;
}
std::vector<Step>& consumer(Trace& t) {
    return t.kernels[0].roles[1].steps;
}

std::vector<Broken> rules() {
    return {
        Broken{"ring index", "kernel read, role producer, step 1 (acquire): found ring 3; allowed: 0 to 0",
               [](Trace& t) { producer(t)[1].ring = 3; }},
        Broken{"tensor index", "tensor 9", [](Trace& t) { producer(t)[2].tensor = 9; }},
        Broken{"box beyond rank", "a box extent of 4 in dimension 2", [](Trace& t) { producer(t)[2].box[2] = 4; }},
        Broken{"empty box", "a box extent of 0", [](Trace& t) { producer(t)[2].box[1] = 0; }},
        Broken{"stage overflow", "2048 bytes loaded into a stage", [](Trace& t) { producer(t)[2].box[0] = 2; }},
        Broken{"load without acquire", "no acquired stage",
               [](Trace& t) { producer(t).erase(producer(t).begin() + 1); }},
        Broken{"no commit", "one open", [](Trace& t) { producer(t).erase(producer(t).begin() + 3); }},
        Broken{"no release", "held stages of ring 'tiles'",
               [](Trace& t) { consumer(t).erase(consumer(t).begin() + 3); }},
        Broken{"release of nothing", "no held stage",
               [](Trace& t) { consumer(t).insert(consumer(t).begin(), release(0)); }},
        Broken{"open loop", "a loop_begin without its loop_end", [](Trace& t) { producer(t).pop_back(); }},
        Broken{"extra end", "a loop_end without its loop_begin", [](Trace& t) { producer(t).push_back(end_loop()); }},
        Broken{"counter outside", "the counter of loop 0",
               [](Trace& t) { consumer(t).insert(consumer(t).begin(), loop(turn(0))); }},
        Broken{"unbalanced", "7 waits for fills of ring 'tiles'; allowed: 8",
               [](Trace& t) { consumer(t)[0].count = 7; }},
        Broken{"unbalanced at a corner", "work item (0, 0, 7, 0)",
               [](Trace& t) { consumer(t)[0].count = Affine(8) + item(2); }},
        Broken{"more stages held than there are", "3 stages held",
               [](Trace& t) {
                   consumer(t) = {loop(2),    wait_full(0), wait_full(0), wait_full(0), wait_full(0),
                                  release(0), release(0),   release(0),   release(0),   end_loop()};
               }},
        Broken{"consumers", "found 2 consumers; allowed: 1", [](Trace& t) { t.kernels[0].rings[0].consumers = 2; }},
        Broken{"two producers", "2 role instances that acquire", [](Trace& t) { t.kernels[0].roles[0].instances = 2; }},
        Broken{"shared memory", "at least the 2048 bytes of its rings",
               [](Trace& t) { t.kernels[0].smem_bytes = 1024; }},
        Broken{"pieces by the TMA", "found pieces of 16 bytes; allowed: a power of two, not by the TMA",
               [](Trace& t) { producer(t)[2].piece_bytes = 16; }},
        Broken{"items left out", "7 CTAs for 8 work items", [](Trace& t) { t.kernels[0].ctas = 7; }},
        Broken{"items taken without persistence", "items taken one by one",
               [](Trace& t) { t.kernels[0].work.dynamic = true; }},
        Broken{"half a byte", "tensor data: found 1023 elements of int4 in its last dimension; allowed: whole bytes",
               [](Trace& t) {
                   t.tensors[0].dtype = Dtype::int4;
                   t.tensors[0].shape[1] = 1023;
               }},
        Broken{"streamed without persistence", "tiles of 4 streamed steps",
               [](Trace& t) { t.kernels[0].work.stream_steps = 4; }},
        Broken{"no grain", "a limit in units of 0", [](Trace& t) { consumer(t)[0].limit_grain = 0; }},
        Broken{"cluster", "8 CTAs; allowed: a positive multiple of the cluster of 3",
               [](Trace& t) { t.kernels[0].work.cluster = 3; }},
        Broken{"multicast", "a multicast to 2 CTAs", [](Trace& t) { producer(t)[2].multicast_ctas = 2; }},
        Broken{"vector", "an amount of work of -1", [](Trace& t) { consumer(t)[2].vec.fp32_ops = -1; }},
        Broken{"no kernels", "0 kernels", [](Trace& t) { t.kernels.clear(); }},
        Broken{"all warm-up", "1 of them not counted", [](Trace& t) { t.warmup_kernels = 1; }}};
}

INSTANTIATE_TEST_SUITE_P(Rules, Check, ::testing::ValuesIn(rules()));

TEST(CheckTest, ALoopInsideAStageCountsItsBytesInEachTurn) {
    Trace t = good();
    auto& steps = t.kernels[0].roles[0].steps;
    Step load = steps[2];
    load.box = {1, 256};
    steps = {loop(8), acquire(0), loop(4), load, end_loop(), commit(0), end_loop()};
    EXPECT_NO_THROW(check(t));
    steps[2].count = 5;
    EXPECT_THROW(check(t), InputError);
}

TEST(CheckTest, CostDoesNotGrowWithTheLoops) {
    Trace t = good();
    t.kernels[0].roles[0].steps[0].count = std::int64_t{1} << 40;
    t.kernels[0].roles[1].steps[0].count = std::int64_t{1} << 40;
    EXPECT_NO_THROW(check(t));
}

}  // namespace
}  // namespace memwall::trace
