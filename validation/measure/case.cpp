#include "case.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <stdexcept>
#include <utility>

namespace memwall::measure {

namespace {

/// A value as it stands in an id: 1, plain, 128x256x64.
std::string text_of(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    if (value.is_array()) {
        std::string text;
        for (const Json& part : value) text += (text.empty() ? "" : "x") + text_of(part);
        return text;
    }
    return value.dump();
}

/// Letters, digits, '.', '_' and '-' stay; anything else becomes '_'.
std::string clean(std::string text) {
    for (char& c : text) {
        const bool fine = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
        if (!fine) c = '_';
    }
    return text;
}

void append(std::string& id, const Json& object) {
    if (!object.is_object()) return;
    for (const auto& [key, value] : object.items()) id += "-" + key + text_of(value);
}

}  // namespace

std::string Case::id() const {
    std::string id = op;
    append(id, params);
    append(id, schedule);
    if (cache != "none") id += "-" + cache;
    return clean(id);
}

Cases suite(const std::string& name) {
    if (name != "quick" && name != "full") throw std::invalid_argument("suite \"" + name + "\"; allowed: quick, full");
    Cases all;
    // What the others lean on comes first: the map of the chip, then the pyramid from small to large.
    add_experiment_cases(all);
    add_latency_cases(all);
    add_engine_cases(all);
    add_launch_cases(all);
    add_bandwidth_cases(all);
    add_row_cases(all);
    add_skinny_cases(all);
    add_gemm_cases(all);
    add_attention_cases(all);
    add_layer_cases(all);
    // What two sweeps ask for is measured once; quick, if either says so.
    std::map<std::string, std::size_t> place;
    Cases once;
    for (Case& c : all) {
        const auto [at, is_new] = place.try_emplace(c.id(), once.size());
        if (is_new) {
            once.push_back(std::move(c));
        } else {
            once[at->second].quick |= c.quick;
        }
    }
    if (name == "quick") std::erase_if(once, [](const Case& c) { return !c.quick; });
    return once;
}

}  // namespace memwall::measure
