// One Llama layer, decode and prefill, by runtime, and with the projections through cuBLAS.

#include <string>
#include <utility>

#include "case.h"

namespace memwall::measure {

void add_layer_cases(Cases& cases) {
    const auto add = [&](const char* op, Json params, double gpu_ms, bool quick) {
        Case one;
        one.family = Family::layer;
        one.op = op;
        one.kind = "model";
        one.params = std::move(params);
        one.cache = "cold";
        one.gpu_ms = gpu_ms;
        one.quick = quick;
        cases.push_back(one);
    };
    for (const char* model : {"llama-2-7b", "llama-3-8b"}) {
        for (const int batch : {1, 8}) {
            for (const char* runtime : {"stream", "graph", "pdl"}) {
                const bool quick = batch == 1 && model == std::string("llama-2-7b");
                add("model_decode",
                    {{"model", model},
                     {"batch", batch},
                     {"context", 2048},
                     {"dtype", "bf16"},
                     {"layers", 1},
                     {"runtime", runtime}},
                    700, quick);
            }
            add("model_decode",
                {{"model", model},
                 {"batch", batch},
                 {"context", 2048},
                 {"dtype", "bf16"},
                 {"layers", 1},
                 {"runtime", "graph"},
                 {"library", "cuBLAS"}},
                700, false);
        }
        for (const int tokens : {512, 2048}) {
            for (const char* runtime : {"stream", "graph", "pdl"}) {
                add("model_prefill",
                    {{"model", model},
                     {"batch", 1},
                     {"tokens", tokens},
                     {"dtype", "bf16"},
                     {"layers", 1},
                     {"runtime", runtime}},
                    800, tokens == 512 && runtime == std::string("graph") && model == std::string("llama-2-7b"));
            }
            add("model_prefill",
                {{"model", model},
                 {"batch", 1},
                 {"tokens", tokens},
                 {"dtype", "bf16"},
                 {"layers", 1},
                 {"runtime", "graph"},
                 {"library", "cuBLAS"}},
                800, false);
        }
    }
}

}  // namespace memwall::measure
