package conformance;

import java.util.Map;

/** What the harness asks. Members that a client does not need are null. */
record Cell(
        String id,
        String client,
        Selector selector,
        String resource,
        int times,
        String tenant,
        String clientId,
        String secret,
        String certificate,
        String assertionResource) {

    /** The name of a user-assigned identity. */
    record Selector(String kind, String value) {}

    static Cell of(Map<String, Object> members) {
        return new Cell(
                (String) members.get("id"),
                (String) members.get("client"),
                members.get("selector") instanceof Map<?, ?> map ? new Selector((String) map.get("kind"), (String) map.get("value")) : null,
                (String) members.get("resource"),
                members.get("times") instanceof Number number ? number.intValue() : 1,
                (String) members.get("tenant"),
                (String) members.get("client_id"),
                (String) members.get("secret"),
                (String) members.get("certificate"),
                (String) members.get("assertion_resource"));
    }
}
