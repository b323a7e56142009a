package conformance;

import com.azure.json.JsonProviders;
import com.azure.json.JsonReader;
import com.azure.json.JsonWriter;
import java.io.IOException;
import java.io.StringWriter;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;

/** One cell: its line of JSON, asked of an SDK, and the line that answers it. */
public final class Cells {
    private Cells() {}

    /** What an SDK gave. */
    record Token(String value, Long expiresOn) {}

    /** A credential of an SDK, to be asked for a cell's resource. */
    interface Source {
        Token ask() throws Exception;
    }

    /** An SDK: its package, and how it is asked. */
    private interface Sdk {
        Source open(Cell cell) throws Exception;
    }

    /** An SDK has no way to ask what a cell asks. */
    static final class Unsupported extends Exception {
        private static final long serialVersionUID = 1;

        Unsupported(String why) {
            super(why);
        }
    }

    private static Sdk sdk(String name) {
        return switch (name) {
            case "azure-identity" -> AzureIdentity::open;
            case "msal4j" -> Msal::open;
            default -> throw new IllegalArgumentException("there is no SDK called " + name);
        };
    }

    public static String about(String name) throws IOException {
        sdk(name);
        String group = name.equals("msal4j") ? "com.microsoft.azure" : "com.azure";
        Map<String, Object> said = new LinkedHashMap<>();
        said.put("sdk", name);
        said.put("version", version("META-INF/maven/" + group + "/" + name + "/pom.properties"));
        said.put("language", "Java");
        said.put("runtime", "OpenJDK " + System.getProperty("java.version"));
        return json(said);
    }

    private static String version(String file) throws IOException {
        Properties properties = new Properties();
        try (var stream = Cells.class.getClassLoader().getResourceAsStream(file)) {
            properties.load(stream);
        }
        return properties.getProperty("version");
    }

    public static String answer(String name, String line) throws IOException {
        Cell cell;
        try (JsonReader reader = JsonProviders.createReader(line)) {
            cell = Cell.of(reader.readMap(JsonReader::readUntyped));
        }
        Map<String, Object> said = new LinkedHashMap<>();
        said.put("id", cell.id());
        try {
            Token token = ask(sdk(name), cell);
            said.put("token", token.value());
            said.put("expires_on", token.expiresOn());
        } catch (Unsupported error) {
            said.put("unsupported", error.getMessage());
        } catch (Exception error) { // whatever it is, is the answer
            said.put("error", words(error));
        }
        return json(said);
    }

    private static Token ask(Sdk sdk, Cell cell) throws Exception {
        Source source = sdk.open(cell);
        Token token = source.ask();
        for (int asked = 1; asked < cell.times(); asked++) {
            token = source.ask();
        }
        return token;
    }

    /** The error that the application sees, in the words of what caused it: the outer ones often only point inwards. */
    private static String words(Throwable error) {
        Throwable seen = error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
        Throwable cause = seen;
        while (cause.getCause() != null && cause.getCause().getMessage() != null) {
            cause = cause.getCause();
        }
        String message = String.valueOf(cause.getMessage()).strip();
        return seen.getClass().getSimpleName() + ": " + message.lines().findFirst().orElse("");
    }

    private static String json(Map<String, Object> members) throws IOException {
        StringWriter text = new StringWriter();
        try (JsonWriter writer = JsonProviders.createWriter(text)) {
            writer.writeMap(members, JsonWriter::writeUntyped);
        }
        return text.toString();
    }
}
