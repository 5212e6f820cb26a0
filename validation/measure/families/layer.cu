// A Llama layer by stream, by graph and with dependent launches, and beside it with the library's projections.

#include <algorithm>
#include <memory>

#include "bench.h"
#include "gemm_reference.h"
#include "layer.h"
#include "layer_reference.h"

namespace memwall::measure {

using kernels::LayerMemory;
using kernels::LayerShape;
using kernels::LlamaLayer;

namespace {

/// Activations pass through nine kernels in bf16; a deviation of each of 2^-9 adds up to about 1 %.
constexpr double kTolerance = 3e-2;

/// As in the models' config.json (configs/models/ has the same).
LayerShape shape_of(const std::string& model) {
    LayerShape s{};
    s.hidden = 4096;
    s.heads = 32;
    s.head_dim = 128;
    if (model == "llama-2-7b") {
        s.kv_heads = 32;
        s.intermediate = 11008;
        s.theta = 10000;
    } else if (model == "llama-3-8b") {
        s.kv_heads = 8;
        s.intermediate = 14336;
        s.theta = 500000;
    } else {
        throw std::runtime_error("a layer of " + model + " is not among the shapes measured here");
    }
    return s;
}

LayerShape shape_of(const Case& c) {
    LayerShape s = shape_of(c.text("model"));
    s.prefill = c.op == "model_prefill";
    s.batch = static_cast<int>(c.number("batch"));
    s.tokens = s.prefill ? static_cast<int>(c.number("tokens")) : 0;
    s.context = s.prefill ? 0 : static_cast<int>(c.number("context"));
    return s;
}

/// The same layer with few tokens or a short context: the reference is slow.
LayerShape small(LayerShape s) {
    s.batch = std::min(s.batch, 4);
    s.tokens = std::min(s.tokens, 192);  // more than one tile, and the kernels for many rows
    s.context = std::min(s.context, 300);
    return s;
}

Check check_layer(const Case& c, Bench& bench, const kernels::Product& library) {
    const LayerShape s = small(shape_of(c));
    const LayerMemory memory = kernels::make_layer(s, bench.seed() << 8, bench.stream());
    const LayerOutput reference = reference_layer(s, memory, bench.stream());
    const LlamaLayer layer(s, memory, library);
    layer.launch(bench.stream(), c.text("runtime") == "pdl");
    const auto elements = static_cast<std::size_t>(s.rows()) * static_cast<std::size_t>(s.hidden);
    Check check{"the layer in fp32 by plain kernels, at " + std::to_string(s.rows()) + " rows", 0, kTolerance, ""};
    check.error =
        std::max(relative_error(memory.hidden.as(), reference.hidden.as<float>(), elements, bench.stream()),
                 relative_error(memory.residual.as(), reference.residual.as<float>(), elements, bench.stream()));
    return check;
}

std::size_t weight_bytes(const LayerShape& s) {
    const auto hidden = static_cast<std::size_t>(s.hidden);
    return 2 * hidden *
           (static_cast<std::size_t>(s.qkv_width()) + hidden + 3 * static_cast<std::size_t>(s.intermediate));
}

}  // namespace

Outcome measure_layer(const Case& c, Bench& bench) {
    std::unique_ptr<LibraryProduct> product;
    kernels::Product library;
    if (c.params.contains("library")) {
        product = std::make_unique<LibraryProduct>(kernels::Dtype::bf16);
        library = [&](const kernels::GemmProblem& p, cudaStream_t stream) { product->launch(p, stream); };
    }
    const std::string runtime = c.text("runtime");
    const bool dependent = runtime == "pdl";
    Outcome outcome;
    outcome.check = check_layer(c, bench, library);
    const LayerShape s = shape_of(c);
    const int copies = bench.copies(weight_bytes(s), c.cache);
    std::vector<LayerMemory> memory;
    std::vector<LlamaLayer> layers;
    for (int i = 0; i < copies; ++i) memory.push_back(kernels::make_layer(s, bench.seed() << 8, bench.stream()));
    for (const LayerMemory& m : memory) layers.emplace_back(s, m, library);
    const auto launch = [&](int i) { layers[static_cast<std::size_t>(i % copies)].launch(bench.stream(), dependent); };
    const Timing timing = runtime == "stream" ? bench.in_stream(copies, c.gpu_ms * 0.4, launch)
                                              : bench.graph(copies, c.gpu_ms * 0.4, launch);
    outcome.samples = timing.us;
    outcome.sm_clock_mhz = timing.sm_clock_mhz;
    outcome.method = timing.method + " (a layer's kernels in a row)";
    return outcome;
}

}  // namespace memwall::measure
