import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.cert.X509Certificate;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/**
 * Java's own client with its defaults: it asks for HTTP/2, over clear text by `Upgrade: h2c`. Its arguments are the two listeners and how many
 * seconds it waits for a response. A line for each request says what came.
 */
class Client {
    static final byte[] BODY = new byte[200_000];

    static HttpClient client;
    static Duration patience;

    public static void main(String[] args) throws Exception {
        String clear = "http://" + args[0], tls = "https://" + args[1];
        patience = Duration.ofSeconds(Long.parseLong(args[2]));
        SSLContext any = SSLContext.getInstance("TLS");
        any.init(null, new TrustManager[] {new Anybody()}, null);
        client = HttpClient.newBuilder().sslContext(any).build();
        say("clear-get", get(clear + "/healthz"));
        say("clear-upload", post(clear + "/upload"));
        say("clear-expect", post(clear + "/upload").expectContinue(true));
        say("clear-http1", post(clear + "/upload").version(HttpClient.Version.HTTP_1_1));
        say("tls-get", get(tls + "/healthz"));
        say("tls-upload", post(tls + "/upload"));
        say("tls-expect", post(tls + "/upload").expectContinue(true));
        say("clear-silent", get(clear + "/silent"));
        say("clear-silent-upload", post(clear + "/silent"));
        System.exit(0);
    }

    static HttpRequest.Builder get(String uri) {
        return HttpRequest.newBuilder(URI.create(uri)).timeout(patience);
    }

    static HttpRequest.Builder post(String uri) {
        return get(uri).POST(BodyPublishers.ofByteArray(BODY));
    }

    static void say(String name, HttpRequest.Builder request) {
        String came;
        try {
            var response = client.send(request.build(), BodyHandlers.ofString());
            came = response.statusCode() + " " + response.version() + " " + response.body().lines().findFirst().orElse("");
        } catch (Exception error) {
            came = "failed: " + error;
        }
        System.out.println(name + " " + came);
    }

    /** Trusts everybody; the host's name is not looked at either. */
    static class Anybody extends X509ExtendedTrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}
        public void checkServerTrusted(X509Certificate[] chain, String type) {}
        public void checkClientTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}
        public void checkServerTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
}
