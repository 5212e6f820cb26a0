// The kernel after FlashAttention-3's decode, which at a few sequences takes as long as it.

#include <algorithm>

#include "workload/attention_decode.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

// hopper/flash_fwd_combine_kernel.h and its launch template: CTAs of 256 threads for 64 or 128 columns and as few rows
// (here: heads of one sequence) as give each thread four columns. Partial outputs come split by split through a ring of
// stages.
constexpr int kThreads = 256, kColumnsOfThread = 4, kStages = 4;
constexpr int kOut = 0, kLse = 1, kCount = 2;  // its rings

/// Logarithms of sums over the splits: a column of them is one warp's, which reduces it three times (maximum, last
/// valid split, sum), takes exponentials and a logarithm in between, and passes the weights through shared memory
/// behind a barrier. Shuffles as in kReductionCycles.
trace::VectorShape weigh(double values) {
    constexpr double kShuffles = 3 * 5 * 24, kTranscendentals = 60, kThroughMemory = 2 * 29 + 2 * 17;
    return {values * 8, values, values * 12, kShuffles + kTranscendentals + kThroughMemory};
}

/// What one split's outputs cost: a weight and four columns from shared memory, then a multiply-add for each, beside
/// which the threads issue some three times as many instructions: addresses, waits, and the copies of the split that
/// is a ring ahead.
trace::VectorShape accumulate(double values) {
    return {values * 4, 0, values * 8, 29 + 4 * 4};
}

}  // namespace

void append_flash_combine(trace::Trace& trace, const AttentionShape& s, std::int64_t splits, const AttentionTensors& t,
                          const FlashScratch& scratch, const std::string& name) {
    const std::int64_t columns = s.head_dim <= 64 ? 64 : 128;
    const std::int64_t rows = std::min(kThreads * kColumnsOfThread / columns, s.heads), weights = splits * rows * 4;
    trace::Kernel k;
    k.name = name + ".combine";
    k.op = "attention_decode";
    k.work.names = {"batch", "heads", "columns", ""};
    k.work.extent = {s.batch, ceil_div(s.heads, rows), ceil_div(s.head_dim, columns), 1};
    k.ctas = k.work.items();
    k.registers_per_thread = 48;
    k.math_dtype = trace::Dtype::fp32;
    k.smem_bytes = kStages * rows * columns * 4 + weights;
    k.rings = {{"partial", kStages, rows * columns * 4, 1, false},
               {"lse", 1, weights, 1, false},
               {"count", 1, kSectorBytes, 1, true}};
    // How many splits this sequence has is known before the first kernel has ended.
    std::vector<Step> steps = {simple(StepKind::trigger_dependents)};
    look_up(steps, scratch.length(0, item(0), kCount));
    if (splits > 1) look_up(steps, scratch.length(1, item(0), kCount));
    steps.push_back(simple(StepKind::wait_dependency));
    if (splits > 1) {
        const Affine head = item(1, rows), column = item(2, columns);
        const auto fetch = [&](const Affine& split) {
            append(steps, {acquire(kOut),
                           move(StepKind::load, kOut, t.partial, {split, item(0), head, column}, {1, 1, rows, columns},
                                LoadPath::plain),
                           commit(kOut)});
        };
        const auto add = [&] {
            append(steps, {wait_full(kOut), vector(accumulate(static_cast<double>(rows * columns))), release(kOut)});
        };
        append(steps, {acquire(kLse),
                       move(StepKind::load, kLse, scratch.lse, {0, head, item(0)}, {splits, rows, 1}, LoadPath::plain),
                       commit(kLse)});
        const std::int64_t ahead = std::min<std::int64_t>(kStages - 1, splits);
        for (std::int64_t split = 0; split < ahead; ++split) fetch(split);
        append(steps, {wait_full(kLse), vector(weigh(static_cast<double>(splits * rows))), release(kLse)});
        if (splits > ahead) {
            steps.push_back(loop(splits - ahead));
            fetch(turn(0) + ahead);
            add();
            steps.push_back(end_loop());
        }
        steps.push_back(loop(ahead));
        add();
        append(steps, {end_loop(), move(StepKind::store, -1, t.o, {item(0), 0, head, column}, {1, 1, rows, columns},
                                        LoadPath::plain)});
        k.flops = 2.0 * static_cast<double>(splits * s.batch * s.heads * s.head_dim);
    }
    k.roles = {{"threads", 1, kThreads / 32, std::move(steps)}};
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
