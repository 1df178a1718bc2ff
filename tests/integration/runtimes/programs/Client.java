// Java's own HTTP client: PLAIN-URL SECURE-URL CERTIFICATE.

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static HttpClient client;

    static void ask(String method, String url, int size) throws Exception {
        var body = size == 0 ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(new byte[size]);
        var request = HttpRequest.newBuilder(URI.create(url)).method(method, body).build();
        var answer = client.send(request, BodyHandlers.ofByteArray());
        if (answer.statusCode() != 200) throw new IOException(url + ": " + answer.statusCode());
    }

    static SSLContext trusting(String certificate) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var file = Files.newInputStream(Path.of(certificate))) {
            store.setCertificateEntry("own", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] arguments) throws Exception {
        String plain = arguments[0], secure = arguments[1];
        client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1).sslContext(trusting(arguments[2])).build();
        ask("GET", plain + "/one", 0);
        ask("POST", plain + "/two", 100_000);
        ask("GET", plain + "/three", 0);
        ask("GET", secure + "/four", 0);
        ask("POST", secure + "/five", 100_000);
    }
}
