package conformance;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Asks for tokens as one of Java's SDKs does; the argument names the SDK.
 *
 * <p>Both SDKs keep tokens for the whole process. A process for each cell would cost a second each time, so each cell gets class
 * loaders of its own instead: whatever an SDK keeps in static fields is new.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Throwable {
        if (arguments.length != 1) {
            throw new IllegalArgumentException("say which SDK: azure-identity or msal4j");
        }
        URL[] classPath = classPath();
        System.out.println(told(classPath, "about", arguments[0]));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(told(classPath, "answer", arguments[0], line));
        }
        System.exit(0); // the SDKs' threads may still be there
    }

    private static URL[] classPath() throws MalformedURLException {
        String[] entries = System.getProperty("java.class.path").split(System.getProperty("path.separator"));
        URL[] urls = new URL[entries.length];
        for (int index = 0; index < entries.length; index++) {
            urls[index] = Path.of(entries[index]).toUri().toURL();
        }
        return urls;
    }

    private static String told(URL[] classPath, String method, Object... arguments) throws Throwable {
        Class<?>[] texts = new Class<?>[arguments.length];
        Arrays.fill(texts, String.class);
        try (URLClassLoader loader = new URLClassLoader(classPath, ClassLoader.getPlatformClassLoader())) {
            Thread.currentThread().setContextClassLoader(loader);
            Class<?> cells = loader.loadClass("conformance.Cells");
            MethodType type = MethodType.methodType(String.class, texts);
            return (String) MethodHandles.publicLookup().findStatic(cells, method, type).invokeWithArguments(arguments);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
