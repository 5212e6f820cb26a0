#include "workload/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "device/reader.h"
#include "trace/check.h"

namespace memwall::workload {
namespace {

const std::vector<std::string> kConfigs = {MEMWALL_SOURCE_DIR "/configs"};

const device::Device& h100() {
    static const device::Device d = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    return d;
}

struct Totals {
    double flops = 0, read_bytes = 0, gemm_bytes = 0, attention_bytes = 0;
};

Totals totals_of(const trace::Trace& t) {
    Totals sum;
    for (const auto& k : t.kernels) {
        sum.flops += k.flops;
        sum.read_bytes += static_cast<double>(k.compulsory_read_bytes);
        if (k.op == "gemm") sum.gemm_bytes += static_cast<double>(k.compulsory_read_bytes);
        if (k.op == "attention_decode") sum.attention_bytes += static_cast<double>(k.compulsory_read_bytes);
    }
    return sum;
}

Situation decode(std::int64_t batch, std::int64_t context) {
    Situation s;
    s.batch = batch;
    s.context = context;
    return s;
}

/// Writes a config.json of its own for a test.
std::string config(const std::string& name, const std::string& text) {
    const auto path = std::filesystem::path(::testing::TempDir()) / (name + ".json");
    std::ofstream(path) << text;
    return path.string();
}

TEST(LoadModel, ReadsThePublishedFiles) {
    const Model seven = load_model("llama-2-7b", kConfigs);
    EXPECT_EQ(seven.hidden, 4096);
    EXPECT_EQ(seven.intermediate, 11008);
    EXPECT_EQ(seven.layers, 32);
    EXPECT_EQ(seven.kv_heads, 32);
    EXPECT_EQ(seven.head_dim, 128);
    EXPECT_EQ(seven.vocabulary, 32000);
    const Model eight = load_model("llama-3-8b", kConfigs);
    EXPECT_EQ(eight.kv_heads, 8);
    EXPECT_EQ(eight.vocabulary, 128256);
    const Model seventy = load_model("llama-3-70b", kConfigs);
    EXPECT_EQ(seventy.layers, 80);
    EXPECT_EQ(seventy.heads, 64);
    // 6.607e9 weights of a 7B model are read per token: all but the embedding's other rows and the norms.
    EXPECT_EQ(seven.weight_elements(), 32.0 * (4.0 * 4096 * 4096 + 3.0 * 4096 * 11008) + 4096.0 * 32000);
    EXPECT_NEAR(seven.weight_elements(), 6.607e9, 1e6);
    EXPECT_NEAR(eight.weight_elements(), 7.504e9, 2e6);
}

TEST(LoadModel, NamesWhatIsWrong) {
    const auto refusal = [](const std::string& name) -> std::string {
        try {
            (void)load_model(name, kConfigs);
        } catch (const InputError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(refusal("llama-9").find("llama-2-7b, llama-3-70b, llama-3-8b"), std::string::npos);
    const std::string gpt = refusal(config("gpt", R"({"architectures": ["GPT2LMHeadModel"]})"));
    EXPECT_NE(gpt.find("/architectures/0: found \"GPT2LMHeadModel\"; allowed: LlamaForCausalLM"), std::string::npos)
        << gpt;
    const std::string lacks =
        refusal(config("lacks", R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 4096})"));
    EXPECT_NE(lacks.find("intermediate_size"), std::string::npos) << lacks;
    const std::string heads = refusal(
        config("heads", R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 5, "vocab_size": 32000})"));
    EXPECT_NE(heads.find("/num_key_value_heads: found 5"), std::string::npos) << heads;
}

TEST(LoadModel, ASlidingWindowBoundsTheKeys) {
    const std::string text =
        R"({"architectures": ["MistralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "sliding_window": )";
    const Model windowed = load_model(config("mistral", text + "4096}"), kConfigs);
    EXPECT_EQ(windowed.window, 4096);
    EXPECT_EQ(load_model(config("mistral2", text + "null}"), kConfigs).window, 0);
    EXPECT_EQ(load_model(config("qwen", text + "131072, \"use_sliding_window\": false}"), kConfigs).window, 0);
    const auto bytes = [&](std::int64_t context) {
        return totals_of(model_trace(windowed, decode(1, context), h100())).attention_bytes;
    };
    EXPECT_LT(bytes(2048), bytes(4096));
    EXPECT_EQ(bytes(4096), bytes(32768));
    Situation prompt;
    prompt.prefill = true;
    prompt.tokens = 8192;
    EXPECT_THROW(model_trace(windowed, prompt, h100()), InputError);
}

TEST(ModelDecode, ReadsEveryWeightAndTheCacheOnce) {
    const Model m = load_model("llama-2-7b", kConfigs);
    const trace::Trace t = model_trace(m, decode(1, 2048), h100());
    EXPECT_NO_THROW(trace::check(t));
    const Totals sum = totals_of(t);
    const double weights = 2 * m.weight_elements();
    EXPECT_NEAR(sum.gemm_bytes, weights, 0.001 * weights);  // activations are the rest
    const double cache = 2.0 * 32 * 32 * 2048 * 128 * 2;
    EXPECT_NEAR(sum.attention_bytes, cache, 0.01 * cache);
    // 14 GFLOP of a token: twice the weights, and the scores.
    EXPECT_NEAR(sum.flops, 2 * m.weight_elements() + 4.0 * 32 * 32 * 2048 * 128, 0.01 * sum.flops);
    std::set<std::string> names;
    for (const auto& k : t.kernels) EXPECT_TRUE(names.insert(k.name).second) << k.name;
    for (const char* name :
         {"layers.0.qkv_proj", "layers.31.down_proj", "layers.7.attention", "lm_head", "final_norm"}) {
        EXPECT_EQ(names.count(name), 1U) << name;
    }
}

TEST(ModelDecode, NarrowerWeightsAndCacheAreFewerBytes) {
    const Model m = load_model("llama-3-8b", kConfigs);
    Situation s = decode(4, 1024);
    s.layers = 2;
    const Totals wide = totals_of(model_trace(m, s, h100()));
    s.weights_dtype = trace::Dtype::int4;
    s.kv_dtype = trace::Dtype::fp8;
    const trace::Trace t = model_trace(m, s, h100());
    EXPECT_NO_THROW(trace::check(t));
    const Totals narrow = totals_of(t);
    EXPECT_NEAR(narrow.gemm_bytes / wide.gemm_bytes, 0.25, 0.01);
    EXPECT_NEAR(narrow.attention_bytes / wide.attention_bytes, 0.5, 0.01);
    EXPECT_EQ(narrow.flops, wide.flops);
}

TEST(ModelDecode, TheTraceDoesNotGrowWithBatchOrContext) {
    const Model m = load_model("llama-3-8b", kConfigs);
    const auto steps = [&](const Situation& s) {
        std::size_t count = 0;
        for (const auto& k : model_trace(m, s, h100()).kernels) {
            for (const auto& role : k.roles) count += role.steps.size();
        }
        return count;
    };
    EXPECT_EQ(steps(decode(1, 8192)), steps(decode(1, 131072)));
}

TEST(ModelDecode, EveryBatchPassesTheCheck) {
    const Model m = load_model("llama-3-8b", kConfigs);
    for (const std::int64_t batch : {1, 2, 8, 16, 33, 64, 65, 128, 256}) {
        Situation s = decode(batch, 512);
        s.layers = 1;
        s.page = batch % 2 == 0 ? 16 : 0;
        EXPECT_NO_THROW(trace::check(model_trace(m, s, h100()))) << batch;
    }
}

TEST(ModelPrefill, CountsTheCausalHalfAndOneRowOfLogits) {
    const Model m = load_model("llama-2-7b", kConfigs);
    Situation s;
    s.prefill = true;
    s.tokens = 1024;
    s.layers = 1;
    const trace::Trace t = model_trace(m, s, h100());
    EXPECT_NO_THROW(trace::check(t));
    const double layer = 4.0 * 4096 * 4096 + 3.0 * 4096 * 11008;
    const double attention = 4.0 * 32 * 128 * (1024.0 * 1025 / 2);
    const double head = 2.0 * 4096 * 32000;
    EXPECT_NEAR(totals_of(t).flops, 2 * 1024 * layer + attention + head, 0.01 * totals_of(t).flops);
}

}  // namespace
}  // namespace memwall::workload
