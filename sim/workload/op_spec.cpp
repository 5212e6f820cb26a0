#include "workload/op_spec.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/error.h"
#include "base/json_reader.h"

namespace memwall::workload {

namespace {

struct OpEntry {
    const char* name;
    std::vector<std::string> required, optional;
};

/// The contract's table. Schedule keys of an op stand with its optional ones.
const std::vector<OpEntry>& table() {
    static const std::vector<OpEntry> entries = {
        {"gemm",
         {"m", "n", "k", "dtype"},
         {"out_dtype", "weights_dtype", "batch", "tile", "stages", "split", "stream_k", "cluster", "persistent",
          "panel", "path", "store", "quantize", "runtime"}},
        {"attention_prefill",
         {"batch", "heads", "kv_heads", "q", "kv", "head_dim", "causal", "dtype"},
         {"page", "kv_layout", "kv_write", "scheduled", "path", "tile", "stages", "flash"}},
        {"attention_decode",
         {"batch", "heads", "kv_heads", "kv", "head_dim", "dtype"},
         {"page", "kv_layout", "kv_write", "kernel", "overlap", "scheduled", "tile", "stages", "split", "path"}},
        {"mla_decode", {"batch", "heads", "kv", "rank", "rope_dim", "q", "dtype"}, {"page"}},
        {"rmsnorm", {"rows", "cols", "dtype"}, {}},
        {"softmax", {"rows", "cols", "dtype"}, {}},
        {"elementwise", {"elements", "reads", "writes", "dtype"}, {}},
        {"stream",
         {"bytes", "reads", "writes"},
         {"passes", "ctas_per_sm", "threads_per_cta", "cyclic", "shared", "sms", "within", "pattern_bytes",
          "pattern_stride"}},
        {"copy", {"bytes"}, {"passes", "ctas_per_sm", "threads_per_cta"}},
        {"read",
         {"bytes"},
         {"passes", "ctas_per_sm", "threads_per_cta", "shared", "sms", "within", "pattern_bytes", "pattern_stride"}},
        {"write",
         {"bytes"},
         {"passes", "ctas_per_sm", "threads_per_cta", "sms", "within", "pattern_bytes", "pattern_stride"}},
        {"tma_read", {"bytes", "box_bytes", "ctas", "in_flight"}, {"rank", "policy"}},
        {"wgmma", {"shape", "dtype", "operand_a"}, {}},
        {"launch", {"runtime"}, {"kernels", "bytes"}},
        {"pointer_chase", {"bytes"}, {"stride", "sm", "access", "accesses", "access_bytes", "chains", "warm"}},
        {"dsmem_chase", {"cluster_size"}, {}},
        {"model_decode",
         {"model", "batch", "context", "dtype"},
         {"weights_dtype", "kv_dtype", "layers", "runtime", "page"}},
        {"model_prefill", {"model", "batch", "tokens", "dtype"}, {"layers", "runtime"}},
    };
    return entries;
}

const OpEntry& entry_of(const std::string& op) {
    for (const OpEntry& entry : table()) {
        if (op == entry.name) return entry;
    }
    const auto names = op_names();
    throw InputError("operation", fmt::format("\"{}\"", op), joined(names, ", "));
}

std::vector<std::string> keys_of(const OpEntry& entry) {
    auto keys = entry.required;
    keys.insert(keys.end(), entry.optional.begin(), entry.optional.end());
    return keys;
}

}  // namespace

std::vector<std::string> op_names() {
    std::vector<std::string> names;
    for (const OpEntry& entry : table()) names.emplace_back(entry.name);
    return names;
}

OpSpec::OpSpec(std::string op, std::vector<std::pair<std::string, std::string>> params)
    : op_(std::move(op)), params_(std::move(params)) {
    const OpEntry& entry = entry_of(op_);
    const auto keys = keys_of(entry);
    for (std::size_t i = 0; i < params_.size(); ++i) {
        const std::string& key = params_[i].first;
        if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
            throw InputError("operation " + op_, fmt::format("key \"{}\"", key), joined(keys, ", "));
        }
        for (std::size_t j = 0; j < i; ++j) {
            if (params_[j].first == key)
                throw InputError("operation " + op_, fmt::format("key \"{}\" twice", key), "each key once");
        }
    }
    for (const std::string& key : entry.required) {
        if (!has(key))
            throw InputError("operation " + op_, fmt::format("no \"{}\"", key),
                             fmt::format("required: {}", joined(entry.required, ", ")));
    }
}

const std::string* OpSpec::find(const std::string& key) const {
    for (const auto& [name, value] : params_) {
        if (name == key) return &value;
    }
    return nullptr;
}

bool OpSpec::has(const std::string& key) const {
    return find(key) != nullptr;
}

std::string OpSpec::where(const std::string& key) const {
    return fmt::format("operation {}, {}", op_, key);
}

std::int64_t OpSpec::number(const std::string& key) const {
    const std::string* text = find(key);
    if (text == nullptr) throw InputError(where(key), "nothing", "a positive integer");
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size() || value < 0) {
        throw InputError(where(key), fmt::format("\"{}\"", *text), "a positive integer");
    }
    constexpr const char* kMayBeZero[] = {"reads", "writes", "sm", "split"};
    if (value == 0 && std::find(std::begin(kMayBeZero), std::end(kMayBeZero), key) == std::end(kMayBeZero)) {
        throw InputError(where(key), "0", "a positive integer");
    }
    return value;
}

std::int64_t OpSpec::number(const std::string& key, std::int64_t otherwise) const {
    return has(key) ? number(key) : otherwise;
}

bool OpSpec::flag(const std::string& key, bool otherwise) const {
    const std::string* text = find(key);
    if (text == nullptr) return otherwise;
    if (*text == "1" || *text == "true") return true;
    if (*text == "0" || *text == "false") return false;
    throw InputError(where(key), fmt::format("\"{}\"", *text), "true, false, 1, 0");
}

std::string OpSpec::word(const std::string& key, const std::string& otherwise,
                         const std::vector<std::string>& allowed) const {
    const std::string* text = find(key);
    if (text == nullptr) return otherwise;
    if (std::find(allowed.begin(), allowed.end(), *text) == allowed.end())
        throw InputError(where(key), fmt::format("\"{}\"", *text), joined(allowed, ", "));
    return *text;
}

trace::Dtype OpSpec::dtype(const std::string& key) const {
    const std::string* text = find(key);
    const auto found = text != nullptr ? trace::dtype_from(*text) : std::nullopt;
    if (!found)
        throw InputError(where(key), text != nullptr ? fmt::format("\"{}\"", *text) : "nothing",
                         "fp32, tf32, fp16, bf16, fp8, int8, int4");
    return *found;
}

trace::Dtype OpSpec::dtype(const std::string& key, trace::Dtype otherwise) const {
    return has(key) ? dtype(key) : otherwise;
}

trace::Runtime OpSpec::runtime(trace::Runtime otherwise) const {
    const std::string* text = find("runtime");
    if (text == nullptr) return otherwise;
    const auto found = trace::runtime_from(*text);
    if (!found) throw InputError(where("runtime"), fmt::format("\"{}\"", *text), "stream, graph, pdl, megakernel");
    return *found;
}

std::string text_of(const OpSpec& op) {
    std::string text = op.op();
    for (const auto& [key, value] : op.params()) text += fmt::format(" {}={}", key, value);
    return text;
}

OpSpec parse_op(const std::string& text) {
    std::istringstream words(text);
    std::string op, word;
    words >> op;
    std::vector<std::pair<std::string, std::string>> params;
    while (words >> word) {
        const auto equals = word.find('=');
        if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
            throw InputError("operation " + op, fmt::format("\"{}\"", word), "key=value");
        }
        params.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
    return {op, params};
}

std::array<int, 3> parse_tile(const std::string& text, const std::string& where) {
    std::array<int, 3> tile{};
    std::string spaced = text;
    std::replace_if(
        spaced.begin(), spaced.end(), [](char c) { return c == 'x' || c == ','; }, ' ');
    std::istringstream in(spaced);
    std::string rest;
    if (!(in >> tile[0] >> tile[1] >> tile[2]) || (in >> rest) ||
        std::any_of(tile.begin(), tile.end(), [](int t) { return t < 1 || t > 65536; })) {
        throw InputError(where, fmt::format("\"{}\"", text), "MxNxK with three positive integers, such as 128x256x64");
    }
    return tile;
}

}  // namespace memwall::workload
