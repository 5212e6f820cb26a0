#include "workload/model.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/json_reader.h"
#include "workload/gemm.h"
#include "workload/ops.h"

namespace memwall::workload {

namespace {

namespace fs = std::filesystem;

const std::vector<std::string>& architectures() {
    static const std::vector<std::string> known = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"};
    return known;
}

fs::path find_model(const std::string& name, const std::vector<std::string>& dirs) {
    if (fs::is_regular_file(name)) return name;
    for (const std::string& dir : dirs) {
        for (const fs::path& path : {fs::path(dir) / "models" / (name + ".json"), fs::path(dir) / "models" / name}) {
            if (fs::is_regular_file(path)) return path;
        }
    }
    const auto names = list_models(dirs);
    throw InputError("model", fmt::format("\"{}\", which is no file and no model of configs/models", name),
                     joined(names, ", ") + ", or a path to a config.json");
}

/// Builds the kernels of one step; activations live in a few buffers that every layer uses again.
class Composer {
public:
    Composer(const Model& model, const Situation& situation, const device::Device& device)
        : m_(model), s_(situation), device_(device) {
        rows_ = s_.prefill ? s_.batch * s_.tokens : s_.batch;
        trace_.runtime = s_.runtime;
        hidden_ = tensor("hidden", {rows_, m_.hidden});
        residual_ = tensor("residual", {rows_, m_.hidden});
        normed_ = tensor("normed", {rows_, m_.hidden});
        qkv_ = tensor("qkv", {rows_, qkv_width()});
        const std::int64_t q_tokens = s_.prefill ? s_.tokens : 1;
        rotated_ = tensor("rotated", {rows_, qkv_width()});
        new_kv_ = trace_.add_tensor("new_kv", s_.kv_dtype, {rows_, 2 * m_.kv_heads * m_.head_dim});
        queries_ = head_view(rotated_, 0, m_.heads, q_tokens, true);
        attended_ = tensor("attended", {s_.batch, q_tokens, m_.heads, m_.head_dim});
        gate_up_ = tensor("gate_up", {rows_, 2 * m_.intermediate});
        gated_ = tensor("gated", {rows_, m_.intermediate});
        if (!s_.prefill) {
            const int splits = decode_splits(attention(), device_);
            if (splits > 1)
                partial_ = trace_.add_tensor("partial", trace::Dtype::fp32, {splits, s_.batch, m_.heads, m_.head_dim});
        }
    }

    trace::Trace compose() {
        const std::int64_t layers = s_.layers > 0 ? std::min(s_.layers, m_.layers) : m_.layers;
        for (std::int64_t layer = 0; layer < layers; ++layer) add_layer(layer);
        if (s_.head) add_head();
        return std::move(trace_);
    }

private:
    [[nodiscard]] std::int64_t qkv_width() const { return (m_.heads + 2 * m_.kv_heads) * m_.head_dim; }
    int tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
        return trace_.add_tensor(name, s_.dtype, shape);
    }

    [[nodiscard]] AttentionShape attention() const {
        const std::int64_t q = s_.prefill ? s_.tokens : 1;
        std::int64_t keys = s_.prefill ? s_.tokens : s_.context;
        if (m_.window > 0 && keys > m_.window) {
            if (s_.prefill) {
                throw InputError("model " + m_.name + ", tokens", std::to_string(keys),
                                 fmt::format("up to its sliding window of {}: a longer prompt makes a band of keys, "
                                             "which this version does not have",
                                             m_.window));
            }
            keys = m_.window;
        }
        return {s_.batch, m_.heads, m_.kv_heads, q, keys, m_.head_dim, s_.prefill, s_.dtype, s_.kv_dtype, s_.page};
    }

    void project(const std::string& name, int input, std::int64_t rows, std::int64_t in, std::int64_t out, int output) {
        const GemmShape shape{rows, out, in, 1, s_.dtype, s_.weights_dtype, s_.dtype};
        const int weights = trace_.add_tensor(name + ".weight", s_.weights_dtype, {out, in});
        // A view of the input as a matrix: attention's output has a dimension per head.
        trace::Tensor matrix = trace_.tensors[static_cast<std::size_t>(input)];
        if (matrix.rank != 2) {
            matrix.rank = 2;
            matrix.shape = {rows, in};
            matrix.stride_bytes = {in * trace::bits_of(s_.dtype) / 8, trace::bits_of(s_.dtype) / 8};
            input = trace_.add_view(matrix);
        }
        const GemmSchedule schedule = choose_gemm(shape, s_.wish, device_);
        append_gemm(trace_, shape, {input, weights, output, workspace(gemm_workspace(shape, schedule, device_))},
                    schedule, name, device_);
    }

    /// Products leave their partial sums in one workspace, as a library's handle has it. It grows with the largest.
    int workspace(std::int64_t elements) {
        if (elements == 0) return -1;
        if (elements > workspace_elements_) {
            workspace_elements_ = elements;
            workspace_ = trace_.add_tensor("workspace", trace::Dtype::fp32, {elements});
        }
        return workspace_;
    }

    void add_layer(std::int64_t layer) {
        const std::string prefix = fmt::format("layers.{}.", layer);
        append_rows(trace_, rmsnorm_shape(rows_, m_.hidden, s_.dtype, true), {hidden_, residual_}, {normed_, residual_},
                    "rmsnorm", prefix + "input_norm");
        project(prefix + "qkv_proj", normed_, rows_, m_.hidden, qkv_width(), qkv_);
        add_attention(prefix);
        project(prefix + "o_proj", attended_, rows_, m_.heads * m_.head_dim, m_.hidden, hidden_);
        append_rows(trace_, rmsnorm_shape(rows_, m_.hidden, s_.dtype, true), {hidden_, residual_}, {normed_, residual_},
                    "rmsnorm", prefix + "post_norm");
        project(prefix + "gate_up_proj", normed_, rows_, m_.hidden, 2 * m_.intermediate, gate_up_);
        // silu(gate) * up: both halves are read, one written; an exponential and a reciprocal each.
        append_elementwise(trace_, {rows_ * m_.intermediate, 2, 1, s_.dtype, 4, 2}, {gate_up_, gate_up_}, {gated_},
                           prefix + "silu_mul", device_);
        offset_second_half(gate_up_, rows_ * m_.intermediate);
        project(prefix + "down_proj", gated_, rows_, m_.intermediate, m_.hidden, hidden_);
    }

    /// The second input of the kernel just added lies behind the first in the same tensor.
    void offset_second_half(int tensor, std::int64_t elements) {
        const auto bytes = static_cast<std::uint64_t>(elements * trace::bits_of(s_.dtype) / 8);
        int seen = 0;
        for (auto& step : trace_.kernels.back().roles.front().steps) {
            if (step.kind != trace::StepKind::load) continue;
            auto& view = trace_.tensors[static_cast<std::size_t>(step.tensor)];
            if (view.base == trace_.tensors[static_cast<std::size_t>(tensor)].base && ++seen == 2) view.base += bytes;
        }
    }

    void add_attention(const std::string& prefix) {
        AttentionShape shape = attention();
        AttentionTensors t{queries_, 0, 0, attended_, partial_};
        // Rotary positions on q and k; the new keys and values also go to the cache.
        append_elementwise(trace_, {rows_ * qkv_width(), 1, 2, s_.dtype, 6, 0}, {qkv_}, {rotated_, new_kv_},
                           prefix + "rope_kv_write", device_);
        if (s_.prefill) {
            // Keys and values are those just made: read from where rope left them.
            t.k = head_view(rotated_, m_.heads, m_.kv_heads, s_.tokens, false);
            t.v = head_view(rotated_, m_.heads + m_.kv_heads, m_.kv_heads, s_.tokens, false);
            append_attention_prefill(trace_, shape, t, {}, false, prefix + "attention", device_);
            return;
        }
        t.k = add_kv_cache(trace_, shape, prefix + "k_cache");
        t.v = add_kv_cache(trace_, shape, prefix + "v_cache");
        append_attention_decode(trace_, shape, t, {}, prefix + "attention", device_);
    }

    /// Some heads of the packed q, k, v rows as a tensor of their own: [batch][token][head][dim] when `tokens_first`,
    /// else [batch][head][token][dim].
    int head_view(int packed, std::int64_t first_head, std::int64_t heads, std::int64_t tokens, bool tokens_first) {
        trace::Tensor view = trace_.tensors[static_cast<std::size_t>(packed)];
        const std::int64_t element = view.stride_bytes[1], row = view.stride_bytes[0];
        view.base += static_cast<std::uint64_t>(first_head * m_.head_dim * element);
        view.rank = 4;
        if (tokens_first) {
            view.shape = {s_.batch, tokens, heads, m_.head_dim};
            view.stride_bytes = {tokens * row, row, m_.head_dim * element, element};
        } else {
            view.shape = {s_.batch, heads, tokens, m_.head_dim};
            view.stride_bytes = {tokens * row, m_.head_dim * element, row, element};
        }
        return trace_.add_view(view);
    }

    void add_head() {
        const std::int64_t rows = s_.batch;  // prefill: the last token of each sequence
        append_rows(trace_, rmsnorm_shape(rows, m_.hidden, s_.dtype, true), {hidden_, residual_}, {normed_, residual_},
                    "rmsnorm", "final_norm");
        const int logits = tensor("logits", {rows, m_.vocabulary});
        project("lm_head", normed_, rows, m_.hidden, m_.vocabulary, logits);
    }

    const Model& m_;
    const Situation& s_;
    const device::Device& device_;
    trace::Trace trace_;
    std::int64_t rows_;
    std::int64_t workspace_elements_ = 0;
    int hidden_, residual_, normed_, qkv_, rotated_, new_kv_, queries_, attended_, gate_up_, gated_, partial_ = -1,
                                                                                                     workspace_ = -1;
};

}  // namespace

double Model::weight_elements() const {
    const double attention = static_cast<double>(hidden) * static_cast<double>((heads + 2 * kv_heads) * head_dim) +
                             static_cast<double>(heads * head_dim * hidden);
    const double mlp = 3.0 * static_cast<double>(hidden) * static_cast<double>(intermediate);
    return static_cast<double>(layers) * (attention + mlp) + static_cast<double>(hidden * vocabulary);
}

std::vector<std::string> list_models(const std::vector<std::string>& dirs) {
    std::vector<std::string> names;
    for (const std::string& dir : dirs) {
        const fs::path folder = fs::path(dir) / "models";
        if (!fs::is_directory(folder)) continue;
        for (const auto& entry : fs::directory_iterator(folder)) {
            if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
        }
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

Model load_model(const std::string& name, const std::vector<std::string>& dirs) {
    const fs::path path = find_model(name, dirs);
    const nlohmann::json json = load_json(path);
    const JsonReader reader(json, path.string(), JsonReader::Mode::lenient);
    const auto list = reader.find("architectures");
    const std::string architecture = list && !list->elements().empty() ? list->elements().front().as_string() : "";
    if (std::find(architectures().begin(), architectures().end(), architecture) == architectures().end()) {
        throw InputError(path.string() + ": /architectures/0",
                         architecture.empty() ? "nothing" : fmt::format("\"{}\"", architecture),
                         joined(architectures(), ", "));
    }
    constexpr std::int64_t kMost = 1 << 20;
    Model model;
    model.name = path.stem().string();
    model.hidden = reader.integer("hidden_size", 64, kMost);
    model.intermediate = reader.integer("intermediate_size", 64, kMost);
    model.layers = reader.integer("num_hidden_layers", 1, 1024);
    model.heads = reader.integer("num_attention_heads", 1, 1024);
    model.kv_heads = reader.integer_or("num_key_value_heads", model.heads, 1, 1024);
    model.head_dim = reader.integer_or("head_dim", model.hidden / model.heads, 8, 512);
    model.vocabulary = reader.integer("vocab_size", 1, 1 << 24);
    // Mistral's window is on unless null; Qwen2's has a switch of its own.
    if (reader.boolean_or("use_sliding_window", true))
        model.window = reader.integer_or("sliding_window", 0, 0, 1 << 30);
    if (model.heads % model.kv_heads != 0) {
        throw InputError(path.string() + ": /num_key_value_heads", std::to_string(model.kv_heads),
                         fmt::format("a divisor of the {} attention heads", model.heads));
    }
    return model;
}

trace::Trace model_trace(const Model& model, const Situation& situation, const device::Device& device) {
    return Composer(model, situation, device).compose();
}

}  // namespace memwall::workload
