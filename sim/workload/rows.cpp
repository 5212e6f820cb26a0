// Kernels that keep a row on chip: rmsnorm, softmax.

#include <algorithm>
#include <utility>

#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

constexpr int kRows = 1, kPart = 2;  // the work item's dimensions

/// How a kernel cuts rows into CTAs: by the rules of quack (Dao-AILab, rmsnorm_config.py and softmax.py), whose small
/// CTAs leave room for many rows on an SM at a time.
struct RowCut {
    std::int64_t threads;          ///< of a CTA
    std::int64_t threads_per_row;  ///< of a CTA
    int cluster;                   ///< CTAs that share a row
};

RowCut cut_rows(std::int64_t cols, int bits) {
    constexpr std::int64_t kThousand = 1 << 10;
    RowCut cut{cols <= 16 * kThousand ? 128 : 256, 256, 1};
    for (const auto& [limit, threads] : {std::pair(64, 8), {128, 16}, {3072, 32}, {6144, 64}, {16384, 128}}) {
        if (cols <= limit) {
            cut.threads_per_row = threads;
            break;
        }
    }
    const std::int64_t alone = (bits >= 32 ? 32 : 16) * kThousand;  // columns that one CTA holds
    while (cut.cluster < 16 && cols > alone * cut.cluster) cut.cluster *= 2;
    return cut;
}

}  // namespace

RowShape rmsnorm_shape(std::int64_t rows, std::int64_t cols, trace::Dtype dtype, bool residual) {
    return {rows, cols, residual ? 2 : 1, residual ? 2 : 1, dtype, residual ? 5.0 : 4.0, 0, 1};
}

RowShape softmax_shape(std::int64_t rows, std::int64_t cols, trace::Dtype dtype) {
    return {rows, cols, 1, 1, dtype, 4, 1, 2};
}

void append_rows(trace::Trace& trace, const RowShape& s, const std::vector<int>& inputs,
                 const std::vector<int>& outputs, const std::string& op, const std::string& name) {
    trace::Kernel k;
    k.name = name;
    k.op = op;
    k.params = {{"rows", std::to_string(s.rows)}, {"cols", std::to_string(s.cols)}, {"dtype", trace::name_of(s.dtype)}};
    const std::int64_t row_bytes = s.cols * trace::bits_of(s.dtype) / 8;
    const RowCut cut = cut_rows(s.cols, trace::bits_of(s.dtype));
    const int cluster = cut.cluster;
    const std::int64_t part = ceil_div(s.cols, cluster);
    const std::int64_t per_cta = std::min(s.rows, cut.threads / cut.threads_per_row);
    const std::int64_t held = per_cta * part * trace::bits_of(s.dtype) / 8;
    k.work.names = {"", "rows", "part", ""};
    k.work.extent = {1, ceil_div(s.rows, per_cta), cluster, 1};
    k.work.cluster = cluster;
    k.work.cluster_dim = kPart;
    k.ctas = k.work.items();
    // Each thread keeps its share of a row as fp32, beside addresses and sums.
    k.registers_per_thread = static_cast<int>(std::min<std::int64_t>(255, 32 + ceil_div(part, cut.threads_per_row)));
    const Origin origin = {item(kRows, per_cta), item(kPart, part)};
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0)};
    for (const int tensor : inputs) {
        steps.push_back(move(StepKind::load, 0, tensor, origin, {per_cta, part}, trace::LoadPath::plain));
    }
    for (const Step& step : {commit(0), wait_full(0)}) steps.push_back(step);
    const auto elements = static_cast<double>(per_cta * part);
    steps.push_back(vector(
        {elements * s.fp32_ops_per_element, elements * s.sfu_ops_per_element, 0, s.reductions * kReductionCycles}));
    for (int i = 0; cluster > 1 && i < s.reductions; ++i) steps.push_back(simple(StepKind::sync_cluster));
    for (const int tensor : outputs) {
        steps.push_back(move(StepKind::store, -1, tensor, origin, {per_cta, part}, trace::LoadPath::plain));
    }
    steps.push_back(release(0));
    k.rings = {{"rows", 1, held * s.reads, 1, false}};
    k.smem_bytes = held * s.reads;
    k.roles = {{"threads", 1, static_cast<int>(ceil_div(cut.threads, 32)), steps}};
    const auto bytes = static_cast<std::uint64_t>(s.rows * row_bytes);
    k.compulsory_read_bytes = bytes * static_cast<std::uint64_t>(s.reads);
    k.compulsory_write_bytes = bytes * static_cast<std::uint64_t>(s.writes);
    k.flops = static_cast<double>(s.rows * s.cols) * s.fp32_ops_per_element;
    k.math_dtype = trace::Dtype::fp32;
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
