#include "workload/workload.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "trace/check.h"
#include "workload/attention_decode.h"
#include "workload/gemm.h"
#include "workload/mla_decode.h"
#include "workload/ops.h"

namespace memwall::workload {

namespace {

void build_gemm(trace::Trace& trace, const OpSpec& op, const ScheduleWish& wish, const device::Device& device) {
    GemmShape shape{op.number("m"),        op.number("n"), op.number("k"),
                    op.number("batch", 1), op.dtype(),     op.dtype("weights_dtype", op.dtype()),
                    trace::Dtype::bf16};
    shape.out_dtype = op.dtype("out_dtype", trace::bits_of(shape.dtype) < 16 ? trace::Dtype::bf16 : shape.dtype);
    trace.runtime = op.runtime(trace::Runtime::graph);
    const GemmTensors tensors = add_gemm_tensors(trace, shape, "gemm");
    if (op.has("quantize")) {
        // Activations arrive as wide as results leave.
        const int wide = trace.add_tensor("gemm.a_wide", shape.out_dtype, {shape.batch, shape.m, shape.k});
        if (trace::bits_of(shape.dtype) != 8 || trace::bits_of(shape.out_dtype) < 16)
            throw InputError("operation gemm, quantize", *op.find("quantize"),
                             "a product of 8-bit values with an out_dtype of 16 bits or more");
        const bool dynamic = op.word("quantize", "dynamic", {"static", "dynamic"}) == "dynamic";
        append_quantize(trace, shape.batch * shape.m * shape.k, wide, tensors.a,
                        dynamic ? Quantize::dynamic_scale : Quantize::static_scale, "gemm.quantize");
    }
    append_gemm(trace, shape, tensors, choose_gemm(shape, wish, device), "gemm", device);
}

AttentionShape attention_shape(const OpSpec& op, bool prefill) {
    AttentionShape s{op.number("batch"),
                     op.number("heads"),
                     op.number("kv_heads"),
                     prefill ? op.number("q") : 1,
                     op.number("kv"),
                     op.number("head_dim"),
                     prefill && op.flag("causal", false),
                     op.dtype(),
                     op.dtype(),
                     op.number("page", 0),
                     op.word("kv_layout", "hnd", {"hnd", "nhd"}) == "nhd"};
    if (s.heads % s.kv_heads != 0)
        throw InputError("operation " + op.op() + ", kv_heads", std::to_string(s.kv_heads),
                         "a divisor of heads = " + std::to_string(s.heads));
    if (s.head_dim % 16 != 0 || s.head_dim > 256)
        throw InputError("operation " + op.op() + ", head_dim", std::to_string(s.head_dim),
                         "a multiple of 16 up to 256");
    if (s.causal && s.kv < s.q)
        throw InputError("operation " + op.op() + ", kv", std::to_string(s.kv), "at least q under a causal mask");
    return s;
}

void build_attention(trace::Trace& trace, const OpSpec& op, const ScheduleWish& wish, const device::Device& device) {
    const bool prefill = op.op() == "attention_prefill";
    const AttentionShape shape = attention_shape(op, prefill);
    if (prefill && !op.flag("flash", true)) {
        for (const char* key : {"kv_write", "scheduled"}) {
            if (op.has(key)) throw InputError("operation " + op.op() + ", " + key, *op.find(key), "flash=1");
        }
        append_attention_unfused(trace, shape, "attention", device);
        return;
    }
    AttentionTensors tensors = add_attention_tensors(trace, shape, "attention");
    if (op.flag("kv_write", false)) append_kv_write(trace, shape, tensors, "attention");
    const bool in_call = op.word("scheduled", "ahead", {"ahead", "in_call"}) == "in_call";
    if (prefill) {
        if (op.has("scheduled") && shape.page == 0)
            throw InputError("operation attention_prefill, scheduled", *op.find("scheduled"), "a page");
        append_attention_prefill(trace, shape, tensors, wish, in_call, "attention", device);
    } else {
        const bool flash3 = op.word("kernel", "swapped", {"swapped", "flash3"}) == "flash3";
        const std::int64_t splits =
            flash3 ? flash_decode_splits(shape, wish, device) : wish.split.value_or(decode_splits(shape, device));
        tensors.partial =
            trace.add_tensor("attention.partial", trace::Dtype::fp32,
                             {std::max<std::int64_t>(1, splits), shape.batch, shape.heads, shape.head_dim});
        if (flash3) {
            const FlashDecode how{op.flag("overlap", true), in_call};
            append_flash_decode(trace, shape, how, tensors, wish, "attention", device);
        } else {
            for (const char* key : {"overlap", "scheduled"}) {
                if (op.has(key)) throw InputError("operation " + op.op() + ", " + key, *op.find(key), "kernel=flash3");
            }
            append_attention_decode(trace, shape, tensors, wish, "attention", device);
        }
    }
}

constexpr std::int64_t kMostSequences = 1 << 20;

void build_mla(trace::Trace& trace, const OpSpec& op, const ScheduleWish& wish, const device::Device& device) {
    const MlaShape s{op.number("batch"),    op.number("heads"), op.number("kv"), op.number("rank"),
                     op.number("rope_dim"), op.number("q"),     op.dtype(),      op.number("page", 0)};
    const auto require = [&](bool holds, const char* key, const char* allowed) {
        if (!holds) throw InputError(fmt::format("operation mla_decode, {}", key), *op.find(key), allowed);
    };
    // Half of the values' columns are those of a wgmma.
    require(s.rank % 128 == 0 && s.rank <= 512, "rank", "a multiple of 128 up to 512");
    require(s.rope_dim % 64 == 0 && s.rope_dim <= 256, "rope_dim", "a multiple of 64 up to 256");
    require(trace::bits_of(s.dtype) == 16, "dtype", "bf16, fp16 (FlashMLA's dense kernel)");
    require(s.page % 64 == 0, "page", "a multiple of 64");
    require(s.kv >= s.q, "kv", "at least q");
    require(s.batch <= kMostSequences, "batch", "at most a million: the schedule lists each sequence");
    if (wish.tile || wish.stages || wish.split || wish.path || wish.cluster || wish.panel || wish.persistent ||
        wish.stream_k)
        throw InputError("operation mla_decode", "a schedule", "none: tile, stages and split are FlashMLA's");
    append_mla_decode(trace, s, "mla", device);
}

void build_rows(trace::Trace& trace, const OpSpec& op) {
    const std::int64_t rows = op.number("rows"), cols = op.number("cols");
    const int in = trace.add_tensor("in", op.dtype(), {rows, cols}),
              out = trace.add_tensor("out", op.dtype(), {rows, cols});
    const RowShape shape =
        op.op() == "rmsnorm" ? rmsnorm_shape(rows, cols, op.dtype(), false) : softmax_shape(rows, cols, op.dtype());
    append_rows(trace, shape, {in}, {out}, op.op(), op.op());
}

void build_elementwise(trace::Trace& trace, const OpSpec& op, const device::Device& device) {
    const ElementwiseShape shape{op.number("elements"), static_cast<int>(op.number("reads")),
                                 static_cast<int>(op.number("writes")), op.dtype()};
    std::vector<int> in, out;
    for (int i = 0; i < shape.reads; ++i)
        in.push_back(trace.add_tensor("in" + std::to_string(i), shape.dtype, {shape.elements}));
    for (int i = 0; i < shape.writes; ++i)
        out.push_back(trace.add_tensor("out" + std::to_string(i), shape.dtype, {shape.elements}));
    append_elementwise(trace, shape, in, out, "elementwise", device);
}

}  // namespace

ScheduleWish merge_wish(const OpSpec& op, ScheduleWish wish) {
    if (const auto* tile = op.find("tile"); tile != nullptr && !wish.tile)
        wish.tile = parse_tile(*tile, "operation " + op.op() + ", tile");
    const auto take = [&](const char* key, std::optional<int>& field) {
        if (op.has(key) && !field) field = static_cast<int>(op.number(key));
    };
    take("stages", wish.stages);
    take("split", wish.split);
    take("cluster", wish.cluster);
    take("panel", wish.panel);
    if (op.has("path") && !wish.path) {
        wish.path = op.word("path", "tma", {"tma", "plain"}) == "tma" ? trace::LoadPath::tma : trace::LoadPath::plain;
    }
    if (op.has("store") && !wish.store) wish.store = parse_store(*op.find("store"), "operation " + op.op() + ", store");
    if (op.has("persistent") && !wish.persistent) wish.persistent = op.flag("persistent", true);
    if (op.has("stream_k") && !wish.stream_k) wish.stream_k = op.flag("stream_k", false);
    return wish;
}

Situation situation_of(const OpSpec& op, const ScheduleWish& wish) {
    Situation s;
    s.prefill = op.op() == "model_prefill";
    s.batch = op.number("batch");
    s.context = s.prefill ? 0 : op.number("context");
    s.tokens = s.prefill ? op.number("tokens") : 0;
    s.dtype = op.dtype();
    s.weights_dtype = op.dtype("weights_dtype", s.dtype);
    s.kv_dtype = op.dtype("kv_dtype", s.dtype);
    s.layers = op.number("layers", 0);
    s.page = op.number("page", 0);
    s.runtime = op.runtime(trace::Runtime::graph);
    s.wish = wish;
    return s;
}

trace::Trace build_trace(const OpSpec& op, const ScheduleWish& asked, const device::Device& device,
                         const std::vector<std::string>& config_dirs) {
    const ScheduleWish wish = merge_wish(op, asked);
    const std::string& name = op.op();
    if (name == "model_decode" || name == "model_prefill") {
        trace::Trace model = model_trace(load_model(*op.find("model"), config_dirs), situation_of(op, wish), device);
        trace::check(model);
        return model;
    }
    trace::Trace trace;
    if (name == "gemm") {
        build_gemm(trace, op, wish, device);
    } else if (name == "attention_prefill" || name == "attention_decode") {
        build_attention(trace, op, wish, device);
    } else if (name == "mla_decode") {
        build_mla(trace, op, wish, device);
    } else if (name == "rmsnorm" || name == "softmax") {
        build_rows(trace, op);
    } else if (name == "elementwise") {
        build_elementwise(trace, op, device);
    } else if (name == "tma_read") {
        append_tma_read(trace, op, device);
    } else if (name == "wgmma") {
        append_wgmma(trace, op, device);
    } else if (name == "launch") {
        append_launch(trace, op);
    } else if (name == "pointer_chase") {
        append_pointer_chase(trace, op, device);
    } else if (name == "dsmem_chase") {
        append_dsmem_chase(trace, op);
    } else {
        append_stream(trace, op, device);
    }
    trace::check(trace);
    return trace;
}

}  // namespace memwall::workload
