#include "device/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/json_reader.h"
#include "device/fields.h"

namespace memwall::device {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::vector<std::string> kKinds{"spec", "measured", "inferred", "assumed"};
constexpr int kDeepestExtends = 8;

/// A leaf before its value is given its type.
struct Leaf {
    Json value;
    std::string unit, kind, source, file;
    std::string pointer;  ///< of the value, for errors: "/sm/max_threads/value", or the field's for --set
};

/// What the files of one `extends` chain say, the most specific winning.
struct Statement {
    std::string name, description, file;
    std::map<std::string, Leaf> leaves;
};

bool is_path(const std::string& name) {
    return name.find('/') != std::string::npos || name.ends_with(".json");
}

fs::path find_file(const std::string& name, const std::vector<std::string>& dirs) {
    if (is_path(name)) return name;
    for (const auto& dir : dirs) {
        std::error_code ignored;
        fs::path path = fs::path(dir) / (name + ".json");
        if (fs::exists(path, ignored)) return path;
    }
    const auto known = list_devices(dirs);
    throw InputError(
        "device", "\"" + name + "\", which is no file in " + joined(dirs),
        known.empty() ? "a path to a device description"
                      : fmt::format("{} (the nearest is \"{}\"), or a path", joined(known), nearest_name(name, known)));
}

Leaf read_leaf(const JsonReader& at, const Field& field) {
    Leaf leaf{at.at("value").json(), at.string("unit"), at.choice("kind", kKinds),
              at.string("source"),   at.file(),         at.pointer() + "/value"};
    if (leaf.unit != field.unit) at.at("unit").fail("\"" + field.unit + "\"");
    if (leaf.source.empty()) at.at("source").fail("where the number comes from, in words");
    at.finish();
    return leaf;
}

/// Walks the file along the table: a pointer is a field, the beginning of one, or unknown.
void read_leaves(const JsonReader& at, const std::vector<Field>& fields, std::map<std::string, Leaf>& leaves) {
    std::map<std::string, std::vector<const Field*>> below;  // next step -> fields behind it
    for (const Field& field : fields) {
        if (!field.pointer.starts_with(at.pointer() + "/")) continue;
        const auto begin = at.pointer().size() + 1;
        const std::string step = field.pointer.substr(begin, field.pointer.find('/', begin) - begin);
        below[step].push_back(&field);
    }
    for (const auto& [step, behind] : below) {
        const auto child = at.find(step);
        if (!child) continue;
        if (behind.front()->pointer == child->pointer()) {
            leaves.try_emplace(child->pointer(), read_leaf(*child, *behind.front()));
        } else {
            read_leaves(*child, fields, leaves);
        }
    }
    at.finish();
}

Statement read_statement(const std::string& name_or_path, std::vector<std::string> dirs,
                         const std::vector<Field>& fields, int depth) {
    const fs::path path = find_file(name_or_path, dirs);
    const Json json = load_json(path);
    const JsonReader root(json, path.string());
    Statement stated;
    stated.file = path.string();
    stated.name = root.string("name");
    stated.description = root.string_or("description", "");
    (void)root.has("$schema");
    const auto base = root.find("extends");
    read_leaves(root, fields, stated.leaves);
    if (!base) return stated;
    if (depth == kDeepestExtends)
        base->fail(fmt::format("a chain of at most {} files that does not close", kDeepestExtends));
    dirs.insert(dirs.begin(), path.parent_path().empty() ? "." : path.parent_path().string());
    Statement from = read_statement(base->as_string(), dirs, fields, depth + 1);
    stated.leaves.merge(from.leaves);
    if (stated.description.empty()) stated.description = from.description;
    return stated;
}

EdgeOverride read_edge_override(const JsonReader& at) {
    EdgeOverride out{at.string("from"),
                     at.string("to"),
                     {at.number("latency_cycles", 0, 1e5), at.number("latency_ns", 0, 1e4),
                      at.number("bytes_per_cycle", 0.01, 1e6), at.number("bytes_per_cycle_back", 0.01, 1e6)}};
    at.finish();
    return out;
}

/// Gives a leaf's JSON value the type of its field.
struct Fill {
    const Field& field;
    JsonReader at;

    void operator()(double* target) const { *target = at.as_number(field.lowest, field.highest); }
    void operator()(int* target) const { *target = static_cast<int>(integer(at)); }
    void operator()(std::string* target) const {
        *target = field.choices.empty() ? at.as_string() : at.as_choice(field.choices);
    }
    void operator()(std::vector<int>* target) const {
        target->clear();
        for (const auto& element : at.elements()) target->push_back(static_cast<int>(integer(element)));
    }
    void operator()(std::vector<EdgeOverride>* target) const {
        target->clear();
        for (const auto& element : at.elements()) target->push_back(read_edge_override(element));
    }
    void operator()(std::uint64_t* target) const {
        const char* const allowed = "an address mask: a positive integer, or the same in hexadecimal as \"0xB3000\"";
        if (!at.json().is_string()) {
            if (!at.json().is_number_integer()) at.fail(allowed);
            *target = static_cast<std::uint64_t>(at.as_integer(1, INT64_MAX));
            return;
        }
        const std::string text = at.as_string();
        std::size_t used = 0;
        try {
            *target = std::stoull(text, &used, 16);
        } catch (const std::exception&) {
            used = 0;
        }
        if (!text.starts_with("0x") || used != text.size() || *target == 0) at.fail(allowed);
    }

private:
    [[nodiscard]] std::int64_t integer(const JsonReader& from) const {
        return from.as_integer(static_cast<std::int64_t>(field.lowest), static_cast<std::int64_t>(field.highest));
    }
};

const Field& named_field(const std::vector<Field>& fields, const std::string& pointer, const std::string& where) {
    std::vector<std::string> known;
    for (const Field& field : fields) {
        if (pointer == field.pointer || pointer.starts_with(field.pointer + "/value")) return field;
        known.push_back(field.pointer);
    }
    throw InputError(where, "a pointer that the description does not have",
                     "an existing one; the nearest is " + nearest_name(pointer, known));
}

/// "--set /pointer=value": JSON where it parses as such, else a string.
void apply_override(const std::string& text, const std::vector<Field>& fields, std::map<std::string, Leaf>& leaves) {
    const std::string where = "--set " + text;
    const auto equals = text.find('=');
    if (equals == std::string::npos || !text.starts_with("/")) {
        throw InputError(where, "no /pointer=value", "for example /l2/slices=96");
    }
    const std::string pointer = text.substr(0, equals);
    const std::string right = text.substr(equals + 1);
    const Field& field = named_field(fields, pointer, where);
    Leaf& leaf = leaves.at(field.pointer);
    Json value = Json::parse(right, nullptr, false);
    if (value.is_discarded()) value = right;
    const auto below = pointer.size() > field.pointer.size() ? pointer.substr(field.pointer.size() + 6) : std::string{};
    if (below.empty()) {
        leaf.value = std::move(value);
    } else {  // one element of a list, or a member of one
        try {
            leaf.value.at(Json::json_pointer(below)) = std::move(value);
        } catch (const Json::exception&) {
            throw InputError(where, "no such element in " + leaf.value.dump(),
                             "a pointer into " + field.pointer + "/value");
        }
    }
    leaf.kind = "set";
    leaf.source = "--set";
    leaf.file = "--set " + text;
    leaf.pointer = field.pointer;
}

}  // namespace

Description read_description(const std::string& name_or_path, const std::vector<std::string>& config_dirs,
                             const std::vector<std::string>& overrides) {
    Description out;
    const std::vector<Field> fields = fields_of(out.device);
    Statement stated = read_statement(name_or_path, config_dirs, fields, 0);
    for (const Field& field : fields) {
        if (stated.leaves.contains(field.pointer)) continue;
        throw InputError(stated.file + ": " + field.pointer, "nothing (the field is missing)",
                         "an entry with value, unit \"" + field.unit + "\", kind and source");
    }
    for (const auto& text : overrides) apply_override(text, fields, stated.leaves);
    for (const Field& field : fields) {
        const Leaf& leaf = stated.leaves.at(field.pointer);
        std::visit(Fill{field, JsonReader(leaf.value, leaf.file, JsonReader::Mode::strict, leaf.pointer)},
                   field.target);
        out.entries.push_back({field.pointer, leaf.value.dump(), leaf.unit, leaf.kind, leaf.source, leaf.file});
    }
    out.device.name = stated.name;
    out.device.description = stated.description;
    const std::string with = overrides.empty() ? "" : " with --set " + joined(overrides, " --set ");
    check_device(out.device, stated.file + with);
    return out;
}

Device load_device(const std::string& name_or_path, const std::vector<std::string>& config_dirs,
                   const std::vector<std::string>& overrides) {
    return read_description(name_or_path, config_dirs, overrides).device;
}

std::vector<std::string> list_devices(const std::vector<std::string>& config_dirs) {
    std::set<std::string> names;
    for (const auto& dir : config_dirs) {
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator(dir, ignored)) {
            if (entry.path().extension() == ".json") names.insert(entry.path().stem().string());
        }
    }
    return {names.begin(), names.end()};
}

int Device::sms() const {
    return std::accumulate(floorplan.sms_per_gpc.begin(), floorplan.sms_per_gpc.end(), 0);
}

}  // namespace memwall::device
